"""The base class of consumers: limits, and periodic re-checks of the credentials.

Subclasses implement ``connect``, ``receive`` and ``disconnect``, and close with ``close_with``.
https://channels.readthedocs.io/en/stable/topics/consumers.html
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
from apps.api.websocket.limits import RateLimit, keep_slot, lease_seconds, release_slot, take_slot
from apps.user.models import User

logger = get_logger(__name__)


class GuardedConsumer(AsyncWebsocketConsumer):
    """Close on messages that are too big or too many, and when the credentials expire or are revoked."""

    # Channels' type lacks the keys that CredentialsMiddleware adds.
    scope: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_close = AsyncExitStack()
        """Clean-up that runs however the connection ends."""
        self._id = uuid4().hex
        self._slot: str | None = None
        self._accepted = False
        self._sent_bytes = 0
        self._code: int | None = None
        self._opened_at = time.monotonic()
        self._rate = RateLimit(settings.WEBSOCKET_MESSAGES, settings.WEBSOCKET_MESSAGES_SECONDS)

    def needs_user(self) -> bool:
        """Return whether a client without credentials is refused."""
        return True

    async def after_recheck(self) -> None:
        """Run after each re-check of the credentials. Subclasses may override it."""

    async def close_with(self, code: CloseCode) -> None:
        """Accept the connection if necessary, since only an open one can send a code, and close it."""
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
                logger.warning("redis_unavailable", error=error)
                await self.close_with(CloseCode.TRY_AGAIN_LATER)
            except asyncio.CancelledError:  # Daphne stops
                await self.close_with(CloseCode.RECONNECT)
                raise

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler of a message.

        Channels' own method also closes old database connections, in a thread, for each message.
        That is not needed here: ``database_sync_to_async`` does it for each query.
        """
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: Any) -> None:
        refusal = await self._refusal()
        if refusal:
            await self.close_with(refusal)
            return
        await super().websocket_connect(message)
        if self._credentials:
            checks = asyncio.create_task(self._close_when_a_check_fails(self._credentials))
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
            await self.close_with(CloseCode.MESSAGE_TOO_BIG)
        elif not self._rate.allows():
            await self.close_with(CloseCode.TOO_MANY_MESSAGES)
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
            await self.close_with(CloseCode.RECONNECT)

    async def websocket_disconnect(self, message: Any) -> None:
        if self._code is None:
            # A close frame without a code counts as 1005 (RFC 6455, section 7.1.5).
            self._code = int(message.get("code") or 1005)
        await super().websocket_disconnect(message)

    @property
    def _credentials(self) -> Credentials | None:
        credentials: Credentials | None = self.scope["credentials"]
        return credentials

    async def _refusal(self) -> CloseCode | None:
        if self._credentials is None:
            return CloseCode.NOT_AUTHENTICATED if self.needs_user() else None
        self.on_close.push_async_callback(self._release_slot)
        if not await database_sync_to_async(self._have_slot)(self._credentials.user):
            return CloseCode.TOO_MANY_CONNECTIONS
        return None

    def _have_slot(self, user: User) -> bool:
        """Keep the slot of this connection, or take one."""
        if self._slot is None or not keep_slot(self._slot, self._id):
            self._slot = take_slot(user, self._id)
        return self._slot is not None

    async def _close_when_a_check_fails(self, credentials: Credentials) -> None:
        try:
            code = await self._keep_checking(credentials)
        except Exception:
            # Without checks the connection would stay open for ever.
            logger.exception("websocket_checks_failed")
            code = CloseCode.TRY_AGAIN_LATER
        await self.close_with(code)

    async def _keep_checking(self, credentials: Credentials) -> CloseCode:
        """Return when the credentials have expired or were revoked, or cannot be checked any more."""
        checked_at = time.monotonic()
        while True:
            left = max(0, credentials.expires_at - time.time())
            await asyncio.sleep(min(left, settings.WEBSOCKET_RECHECK_SECONDS))
            try:
                credentials = await self._check(credentials)
            except AuthenticationFailed:
                return CloseCode.NOT_AUTHENTICATED
            except (DatabaseFailure, RedisError) as error:
                logger.warning("websocket_not_checked", error=error)
                if time.monotonic() - checked_at > lease_seconds():
                    return CloseCode.TRY_AGAIN_LATER
            else:
                checked_at = time.monotonic()

    async def _check(self, credentials: Credentials) -> Credentials:
        if time.time() >= credentials.expires_at:
            raise AuthenticationFailed
        credentials = await database_sync_to_async(credentials.check_again)()
        self.scope["user"] = credentials.user
        if not await database_sync_to_async(self._have_slot)(credentials.user):
            await self.close_with(CloseCode.TOO_MANY_CONNECTIONS)
        await self.after_recheck()
        return credentials

    async def _release_slot(self) -> None:
        if self._slot is None:
            return
        try:
            await database_sync_to_async(release_slot)(self._slot, self._id)
        except DatabaseFailure as error:
            logger.warning("websocket_slot_not_released", error=error)

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
    """Return the size of a message in bytes, in UTF-8."""
    text: str | None = message.get("text")
    if text is None:
        return len(message["bytes"])
    return len(text) if text.isascii() else len(text.encode())
