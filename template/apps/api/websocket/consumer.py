"""The base class of consumers: limits, and periodic re-checks of the credentials.

Subclasses implement ``connect``, ``receive`` and ``disconnect``, and close with ``close_with``.
https://channels.readthedocs.io/en/stable/topics/consumers.html
"""

import asyncio
import time
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
from common import telemetry

logger = get_logger(__name__)


class GuardedConsumer(AsyncWebsocketConsumer):
    """Close on messages that are too big or too many, and when the credentials expire or are revoked."""

    # Channels' type lacks the keys that CredentialsMiddleware adds.
    scope: Any

    def __init__(self) -> None:
        super().__init__()
        self._id = uuid4().hex
        self._slot: str | None = None
        self._checks: asyncio.Task[None] | None = None
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
        try:
            await super().__call__(scope, receive, send)
        except RedisError as error:
            logger.warning("redis_unavailable", error=error)
            await self.close_with(CloseCode.TRY_AGAIN_LATER)
        except OSError:  # the client has left
            raise
        except Exception:
            logger.exception("websocket_failed", user_id=self._user_id())
            await self.close_with(CloseCode.TRY_AGAIN_LATER)
        except asyncio.CancelledError:  # Daphne stops
            await self.close_with(CloseCode.RECONNECT)
            raise
        finally:
            if self._checks:
                self._checks.cancel()
            if self._accepted:
                telemetry.change("websocket.connections.open", -1)
            self._log()
            await self._release_slot()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler of a message.

        Channels' own method also closes old database connections, in a thread, for each message.
        That is not needed here: ``database_sync_to_async`` does it for each query.
        """
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: Any) -> None:
        credentials: Credentials | None = self.scope["credentials"]
        if credentials is None and self.needs_user():
            await self.close_with(CloseCode.NOT_AUTHENTICATED)
        elif credentials and not await self._have_slot(credentials.user):
            await self.close_with(CloseCode.TOO_MANY_CONNECTIONS)
        else:
            await super().websocket_connect(message)
            if credentials:
                self._checks = asyncio.create_task(self._keep_checking(credentials))

    async def accept(
        self, subprotocol: str | None = None, headers: list[tuple[str, str]] | None = None
    ) -> None:
        self._accepted = True
        telemetry.change("websocket.connections.open", 1)
        await super().accept(subprotocol or self.scope["subprotocol"], headers)

    async def websocket_receive(self, message: Any) -> None:
        if self._code is not None:
            return
        if _size(message.get("text"), message.get("bytes")) > settings.WEBSOCKET_MAX_MESSAGE_BYTES:
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
        self._sent_bytes += _size(text_data, bytes_data)
        if self._sent_bytes > settings.WEBSOCKET_CONNECTION_BYTES:
            await self.close_with(CloseCode.RECONNECT)

    async def websocket_disconnect(self, message: Any) -> None:
        if self._code is None:
            # A close frame without a code counts as 1005 (RFC 6455, section 7.1.5).
            self._code = int(message.get("code") or 1005)
        await super().websocket_disconnect(message)

    @database_sync_to_async
    def _have_slot(self, user: User) -> bool:
        """Keep the slot of this connection, or take one."""
        if self._slot is None or not keep_slot(self._slot, self._id):
            self._slot = take_slot(user, self._id)
        return self._slot is not None

    async def _keep_checking(self, credentials: Credentials) -> None:
        """Close when the credentials expire or are revoked, or cannot be checked any more."""
        checked_at = time.monotonic()
        while self._code is None:
            left = max(0, credentials.expires_at - time.time())
            await asyncio.sleep(min(left, settings.WEBSOCKET_RECHECK_SECONDS))
            try:
                credentials = await self._check(credentials)
                checked_at = time.monotonic()
            except AuthenticationFailed:
                await self.close_with(CloseCode.NOT_AUTHENTICATED)
            except (DatabaseFailure, RedisError) as error:
                logger.warning("websocket_not_checked", error=error)
                if time.monotonic() - checked_at > lease_seconds():
                    await self.close_with(CloseCode.TRY_AGAIN_LATER)
            except Exception:
                # Without checks the connection would stay open for ever.
                logger.exception("websocket_checks_failed", user_id=self._user_id())
                await self.close_with(CloseCode.TRY_AGAIN_LATER)

    async def _check(self, credentials: Credentials) -> Credentials:
        if time.time() >= credentials.expires_at:
            raise AuthenticationFailed
        credentials = await database_sync_to_async(credentials.check_again)()
        self.scope["user"] = credentials.user
        if await self._have_slot(credentials.user):
            await self.after_recheck()
        else:
            await self.close_with(CloseCode.TOO_MANY_CONNECTIONS)
        return credentials

    async def _release_slot(self) -> None:
        if self._slot is None:
            return
        try:
            await database_sync_to_async(release_slot)(self._slot, self._id)
        except DatabaseFailure as error:
            logger.warning("websocket_slot_not_released", error=error)

    def _user_id(self) -> int | None:
        credentials: Credentials | None = self.scope["credentials"]
        return credentials.user.pk if credentials else None

    def _log(self) -> None:
        logger.info(
            "websocket_closed",
            path=self.scope["path"],
            user=self._user_id(),
            code=self._code,
            seconds=round(time.monotonic() - self._opened_at, 3),
        )


def _size(text: str | None, data: bytes | None) -> int:
    """Return the size of a message in bytes, in UTF-8."""
    return len(data or b"") if text is None else len(text.encode())
