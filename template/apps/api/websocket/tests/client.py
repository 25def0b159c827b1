"""A WebSocket client that calls the ASGI application without a network."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator

from api_core.asgi import application

ECHO = "/ws/echo/"
NOTIFICATIONS = "/ws/notifications/"
# Seconds to wait for a message, on a busy machine.
TIMEOUT = 60


class Socket(WebsocketCommunicator):
    def __init__(  # noqa: PLR0913 - everything a client can send
        self,
        path: str = ECHO,
        *,
        authorization: str | Sequence[str] = (),
        subprotocols: list[str] | None = None,
        session: str | None = None,
        origin: str | None = None,
        host: str = "localhost:8000",
        forwarded_proto: str | None = None,
        content_type: str | None = None,
    ) -> None:
        authorization = [authorization] if isinstance(authorization, str) else authorization
        headers = [("host", host)]
        headers += [("authorization", value) for value in authorization]
        if session:
            headers.append(("cookie", f"sessionid={session}"))
        if origin is not None:
            headers.append(("origin", origin))
        if forwarded_proto:
            headers.append(("x-forwarded-proto", forwarded_proto))
        if content_type:
            headers.append(("content-type", content_type))
        super().__init__(
            application,
            path,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in headers],
            subprotocols=subprotocols,
        )

    async def receive_output(self, timeout: float = TIMEOUT) -> Any:  # noqa: ASYNC109 - asgiref's
        """Wait for a message. If the application fails instead, raise its error at once."""
        message = asyncio.create_task(self.output_queue.get())
        await asyncio.wait({message, self.future}, timeout=timeout, return_when="FIRST_COMPLETED")
        if message.done():
            return message.result()
        message.cancel()
        if self.future.done():
            self.future.result()
        raise TimeoutError

    async def open(self) -> "Socket":
        accepted, self.subprotocol = await self.connect(timeout=TIMEOUT)
        assert accepted, "the handshake was denied"
        return self

    async def is_denied(self) -> bool:
        accepted, _code = await self.connect(timeout=TIMEOUT)
        return not accepted

    async def close_code(self) -> int:
        """Wait until the service closes, and end the consumer as a server does."""
        message = await self.receive_output(timeout=TIMEOUT)
        assert message["type"] == "websocket.close", message
        code: int = message["code"]
        await self.disconnect(code, TIMEOUT)
        return code

    async def echoes(self, text: str = "hello") -> bool:
        await self.send_to(text_data=text)
        return bool(await self.receive_text_or_bytes() == text)

    async def receive_text_or_bytes(self) -> Any:
        return await self.receive_from(timeout=TIMEOUT)


@asynccontextmanager
async def connected(path: str = ECHO, **options: Any) -> AsyncIterator[Socket]:
    socket = await Socket(path, **options).open()
    try:
        yield socket
    finally:
        await socket.disconnect(timeout=TIMEOUT)
