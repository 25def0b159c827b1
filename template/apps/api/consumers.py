"""The WebSockets of this service. Their paths are in ``api_core.routing``."""

from typing import Any

from django.conf import settings

from apps.api.notifications import group_of
from apps.api.websocket.codes import CloseCode
from apps.api.websocket.consumer import GuardedConsumer
from apps.api.websocket.redis import run_id


class EchoConsumer(GuardedConsumer):
    """``ws/echo/``: send each message back, text as text and bytes as bytes."""

    # It needs no channel layer, so it works while Redis is down.
    channel_layer_alias = ""

    def needs_user(self) -> bool:
        return settings.WEBSOCKET_ECHO_NEEDS_USER

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


class NotificationsConsumer(GuardedConsumer):
    """``ws/notifications/``: send what ``notify`` sends to the user. Ignore the client's messages.

    It closes after Redis has restarted, since notifications may have been lost. A client that
    reconnects and then asks the API for the current state has missed nothing.
    """

    async def connect(self) -> None:
        self._run_id = await run_id(self.channel_layer)
        await self._join()
        await self.accept()

    async def after_recheck(self) -> None:
        if await run_id(self.channel_layer) != self._run_id:
            await self.close_with(CloseCode.TRY_AGAIN_LATER)
        else:
            # A group forgets members that have not joined for a day.
            await self._join()

    async def notification(self, message: dict[str, Any]) -> None:
        """Handle messages of the group; their type is the name of this method."""
        await self.send(message["text"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self._group, self.channel_name)

    @property
    def _group(self) -> str:
        return group_of(self.scope["user"].pk)

    async def _join(self) -> None:
        await self.channel_layer.group_add(self._group, self.channel_name)
