import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from channels import DEFAULT_CHANNEL_LAYER
from channels.db import database_sync_to_async
from channels.layers import channel_layers
from channels_redis.core import RedisChannelLayer
from django.db import transaction
from pytest_django import Settings
from redis.exceptions import RedisError
from rest_framework.test import APIClient

from apps.api.notifications import _send, notify
from apps.api.websocket.tests.client import NOTIFICATIONS, Socket, connected
from apps.api.websocket.tests.redis_server import RedisServer
from apps.user.models import User
from apps.user.tests.factories import make_token, make_user

Logged = Callable[[], list[dict[str, Any]]]
Committed = Callable[..., AbstractContextManager[list[Any]]]

pytestmark = pytest.mark.django_db

EVENT = {"type": "order_paid", "at": datetime(2026, 1, 2, tzinfo=UTC), "total": 9}
TEXT = '{"type": "order_paid", "at": "2026-01-02T00:00:00Z", "total": 9}'


@pytest.fixture
def send(django_capture_on_commit_callbacks: Committed) -> Callable[..., Any]:
    """Call ``notify`` in a transaction that commits."""

    def send(user: User, event: dict[str, Any] = EVENT) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            notify(user, event)

    return database_sync_to_async(send)


async def test_every_connection_of_the_user_receives_a_notification(
    user: User, bearer: str, send: Callable[..., Any]
) -> None:
    other = await database_sync_to_async(make_user)()
    token = await database_sync_to_async(make_token)(other)
    async with (
        connected(NOTIFICATIONS, authorization=bearer) as one,
        connected(NOTIFICATIONS, authorization=bearer) as two,
        connected(NOTIFICATIONS, authorization=f"Bearer {token}") as others,
    ):
        await send(user)
        assert [await one.receive_text_or_bytes(), await two.receive_text_or_bytes()] == [
            TEXT,
            TEXT,
        ]
        await send(other, {"for": "the other"})
        assert json.loads(await others.receive_text_or_bytes()) == {"for": "the other"}


async def test_messages_of_the_client_are_ignored(
    user: User, bearer: str, send: Callable[..., Any]
) -> None:
    async with connected(NOTIFICATIONS, authorization=bearer) as socket:
        await socket.send_to(text_data='{"type": "notification", "text": "mine"}')
        await send(user)
        assert await socket.receive_text_or_bytes() == TEXT


async def test_an_anonymous_client_is_refused() -> None:
    assert await (await Socket(NOTIFICATIONS).open()).close_code() == 4401


def test_a_notification_is_sent_after_the_transaction_commits(
    user: User,
    django_capture_on_commit_callbacks: Committed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr("apps.api.notifications._send", lambda *args: sent.append(args))
    with django_capture_on_commit_callbacks(execute=True):
        notify(user, EVENT)
        with transaction.atomic():
            notify(user, {"never": "happened"})
            transaction.set_rollback(True)
        assert sent == []
    assert sent == [(user.pk, TEXT)]


def test_an_event_that_is_not_json_raises_immediately(user: User) -> None:
    with pytest.raises(TypeError):
        notify(user, {"user": user})


class TestRedis:
    async def test_a_notification_from_another_event_loop_arrives(
        self, user: User, bearer: str, redis: RedisServer
    ) -> None:
        """``notify`` runs in another event loop than the connection."""
        async with connected(NOTIFICATIONS, authorization=bearer) as socket:
            await asyncio.to_thread(_send, user.pk, TEXT)
            assert await socket.receive_text_or_bytes() == TEXT

    async def test_a_connection_stays_open_while_redis_is_silent(
        self,
        user: User,
        bearer: str,
        redis: RedisServer,
        send: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(RedisChannelLayer, "brpop_timeout", 0.1)
        async with connected(NOTIFICATIONS, authorization=bearer) as socket:
            assert await socket.receive_nothing(timeout=0.5)
            await send(user)
            assert await socket.receive_text_or_bytes() == TEXT

    async def test_a_read_does_not_time_out_while_the_channel_layer_waits(
        self, redis: RedisServer
    ) -> None:
        """By default, redis-py times out after 5 seconds, as long as the channel layer waits."""
        layer: Any = channel_layers[DEFAULT_CHANNEL_LAYER]
        read = layer.connection(0).connection_pool.make_connection()
        assert read.socket_timeout > layer.brpop_timeout

    async def test_a_restart_of_redis_closes_notifications(
        self,
        user: User,
        bearer: str,
        redis: RedisServer,
        send: Callable[..., Any],
        settings: Settings,
    ) -> None:
        settings.WEBSOCKET_RECHECK_SECONDS = 0.2
        sockets = [await Socket(NOTIFICATIONS, authorization=bearer).open() for _number in range(3)]
        async with connected(authorization=bearer) as echo:
            redis.kill()
            redis.start()
            assert [await socket.close_code() for socket in sockets] == [4503] * 3
            assert await echo.echoes()
            async with connected(NOTIFICATIONS, authorization=bearer) as again:
                await send(user)
                assert await again.receive_text_or_bytes() == TEXT

    async def test_notifications_close_and_recover_when_redis_is_down(
        self,
        user: User,
        bearer: str,
        redis: RedisServer,
        send: Callable[..., Any],
        logged: Logged,
    ) -> None:
        redis.kill()
        refused = await Socket(NOTIFICATIONS, authorization=bearer).open()
        assert await refused.close_code() == 4503
        (warning,) = [each for each in logged() if each["event"] == "redis_unavailable"]
        assert isinstance(warning["error"], RedisError)
        await send(user)
        async with connected(authorization=bearer) as echo:
            assert await echo.echoes()
        redis.start()
        async with connected(NOTIFICATIONS, authorization=bearer) as again:
            await send(user)
            assert await again.receive_text_or_bytes() == TEXT

    def test_readiness_returns_a_warning_while_redis_is_down(
        self, api: APIClient, redis: RedisServer, logged: Logged
    ) -> None:
        answers = []
        for change in (None, redis.kill, redis.start):
            if change:
                change()
            response = api.get("/api/v1/health/ready/")
            answers.append((response.status_code, response.json()["checks"]["channel_layer"]))
        assert answers == [(200, "ok"), (200, "warning"), (200, "ok")]
        (warning,) = [each for each in logged() if each["event"] == "redis_unavailable"]
        assert isinstance(warning["error"], RedisError)

    def test_readiness_returns_a_warning_while_redis_does_not_respond(
        self, api: APIClient, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("apps.api.websocket.redis.PING_TIMEOUT", 0.1)
        redis.suspend()
        started = time.monotonic()
        assert api.get("/api/v1/health/ready/").json()["checks"]["channel_layer"] == "warning"
        # The channel layer itself would wait for 15 seconds.
        assert time.monotonic() - started < 10
