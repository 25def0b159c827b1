"""The base of this service's consumers: it keeps a connection within its limits.

A consumer that derives from it writes ``connect``, ``receive`` and ``disconnect`` as Channels
says, and closes with ``shut``. https://channels.readthedocs.io/en/stable/topics/consumers.html
"""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

from channels.consumer import get_handler_name
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseFailure
from redis.exceptions import RedisError
from rest_framework.exceptions import AuthenticationFailed
from structlog import get_logger

from apps.api.websocket.codes import CloseCode
from apps.api.websocket.credentials import Credentials
from apps.api.websocket.limits import RateLimit, lease_seconds, leave_place, take_place
from apps.user.models import User

logger = get_logger(__name__)


class GuardedConsumer(AsyncWebsocketConsumer):
    """Close on too large or too many messages, and when the user's proof ends or is revoked."""

    # What CredentialsMiddleware adds to it is not in Channels' type.
    scope: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_close = AsyncExitStack()
        """What is to be undone, however the connection ends."""
        self._holder = uuid4().hex
        self._accepted = False
        self._sent_bytes = 0
        self._code: int | None = None
        self._opened_at = time.monotonic()
        self._rate = RateLimit(settings.WEBSOCKET_MESSAGES, settings.WEBSOCKET_MESSAGES_SECONDS)

    def needs_user(self) -> bool:
        """Say whether a visitor without credentials is turned away."""
        return True

    async def checked_again(self) -> None:
        """Do what an open connection needs now and then: its credentials have just been checked."""

    async def shut(self, code: CloseCode) -> None:
        """Close with a code, which an open connection alone can tell."""
        if self._code is not None:
            return
        self._code = int(code)
        if not self._accepted:
            await self.accept()
        await self.close(self._code)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.on_close:
            self.on_close.callback(self._log)
            try:
                await super().__call__(scope, receive, send)
            except RedisError as error:
                logger.warning("redis_unavailable", error=str(error))
                await self.shut(CloseCode.TRY_AGAIN_LATER)

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Hand a message to its method.

        Channels looks after old database connections here, in a thread, before each message.
        This service asks the database through ``database_sync_to_async``, which does so itself.
        """
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: Any) -> None:
        refusal = await self._refusal()
        if refusal:
            await self.shut(refusal)
            return
        await super().websocket_connect(message)
        if self._credentials:
            checks = asyncio.create_task(self._shut_when_a_check_fails(self._credentials))
            self.on_close.callback(checks.cancel)

    async def accept(
        self, subprotocol: str | None = None, headers: list[tuple[str, str]] | None = None
    ) -> None:
        self._accepted = True
        await super().accept(subprotocol or self.scope["subprotocol"], headers)

    async def websocket_receive(self, message: Any) -> None:
        if self._code is not None:
            return
        if _size(message) > settings.WEBSOCKET_MAX_MESSAGE_BYTES:
            await self.shut(CloseCode.MESSAGE_TOO_BIG)
        elif not self._rate.allows():
            await self.shut(CloseCode.TOO_MANY_MESSAGES)
        else:
            await super().websocket_receive(message)

    async def send(  # type: ignore[override]
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool = False,  # noqa: FBT001, FBT002 - as Channels has it
    ) -> None:
        if self._code is not None:
            return
        await super().send(text_data, bytes_data, close)
        self._sent_bytes += _size({"text": text_data, "bytes": bytes_data or b""})
        if self._sent_bytes > settings.WEBSOCKET_CONNECTION_BYTES:
            await self.shut(CloseCode.RECONNECT)

    async def websocket_disconnect(self, message: Any) -> None:
        if self._code is None:
            # A close frame may hold no code, which counts as 1005 (RFC 6455, section 7.1.5).
            self._code = int(message.get("code") or 1005)
        await super().websocket_disconnect(message)

    @property
    def _credentials(self) -> Credentials | None:
        credentials: Credentials | None = self.scope["credentials"]
        return credentials

    async def _refusal(self) -> CloseCode | None:
        if self._credentials is None:
            return CloseCode.NOT_AUTHENTICATED if self.needs_user() else None
        user = self._credentials.user
        if not await database_sync_to_async(take_place)(user, self._holder):
            return CloseCode.TOO_MANY_CONNECTIONS
        self.on_close.push_async_callback(self._leave_place, user)
        return None

    async def _shut_when_a_check_fails(self, credentials: Credentials) -> None:
        try:
            code = await self._keep_checking(credentials)
        except Exception:
            # Nobody checks any more: what stayed open now would stay open for ever.
            logger.exception("websocket_checks_failed")
            code = CloseCode.TRY_AGAIN_LATER
        await self.shut(code)

    async def _keep_checking(self, credentials: Credentials) -> CloseCode:
        """Wait until the proof has expired, was revoked, or nobody can tell any more."""
        checked_at = time.monotonic()
        while True:
            left = max(0, credentials.expires_at - time.time())
            await asyncio.sleep(min(left, settings.WEBSOCKET_RECHECK_SECONDS))
            try:
                credentials = await self._check(credentials)
            except AuthenticationFailed:
                return CloseCode.NOT_AUTHENTICATED
            except (DatabaseFailure, RedisError) as error:
                logger.warning("websocket_not_checked", error=str(error))
                if time.monotonic() - checked_at > lease_seconds():
                    return CloseCode.TRY_AGAIN_LATER
            else:
                checked_at = time.monotonic()

    async def _check(self, credentials: Credentials) -> Credentials:
        if time.time() >= credentials.expires_at:
            raise AuthenticationFailed
        credentials = await database_sync_to_async(credentials.check_again)()
        self.scope["user"] = credentials.user
        if not await database_sync_to_async(take_place)(credentials.user, self._holder):
            await self.shut(CloseCode.TOO_MANY_CONNECTIONS)
        await self.checked_again()
        return credentials

    async def _leave_place(self, user: User) -> None:
        try:
            await database_sync_to_async(leave_place)(user, self._holder)
        except DatabaseFailure as error:
            logger.warning("websocket_place_not_left", error=str(error))

    def _log(self) -> None:
        credentials = self.scope["credentials"]
        logger.info(
            "websocket_closed",
            path=self.scope["path"],
            user=credentials.user.pk if credentials else None,
            code=self._code,
            seconds=round(time.monotonic() - self._opened_at, 3),
        )


def _size(message: dict[str, Any]) -> int:
    """Return a message's size in bytes, as it goes over the network."""
    text: str | None = message.get("text")
    if text is None:
        return len(message["bytes"])
    return len(text) if text.isascii() else len(text.encode())
