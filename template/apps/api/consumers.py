"""The WebSockets of this service; their addresses are in ``api_core.routing``."""

import asyncio
from typing import Any

from django.conf import settings

from apps.api.notifications import group_of
from apps.api.websocket.codes import CloseCode
from apps.api.websocket.consumer import GuardedConsumer
from apps.api.websocket.redis import when_lost


class EchoConsumer(GuardedConsumer):
    """``ws/echo/``: answer each message with the same, text with text and bytes with bytes."""

    # No other process has anything to say here, so Redis may be down.
    channel_layer_alias = ""

    def needs_user(self) -> bool:
        return settings.WEBSOCKET_ECHO_NEEDS_USER

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


class NotificationsConsumer(GuardedConsumer):
    """``ws/notifications/``: what ``notify`` sends to the user. What the client says is ignored.

    It closes when Redis may have lost its place in the user's group: a client that connects
    again and asks the API for the present state has missed nothing.
    """

    async def connect(self) -> None:
        self.on_close.callback(await when_lost(self.channel_layer, self._lost))
        await self._join()
        await self.accept()

    async def checked_again(self) -> None:
        # The group forgets who has not joined for a day.
        await self._join()

    async def notification(self, message: dict[str, Any]) -> None:
        """Pass on what ``notify`` sent; the message's type names this method."""
        await self.send(message["text"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self._group, self.channel_name)

    @property
    def _group(self) -> str:
        return group_of(self.scope["user"].pk)

    async def _join(self) -> None:
        await self.channel_layer.group_add(self._group, self.channel_name)

    def _lost(self) -> None:
        self._shutting = asyncio.ensure_future(self.shut(CloseCode.TRY_AGAIN_LATER))
