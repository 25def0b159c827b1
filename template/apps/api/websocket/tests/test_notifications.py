import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.db import transaction
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.api.notifications import _send, notify
from apps.api.websocket.tests.client import NOTIFICATIONS, Socket, connected
from apps.api.websocket.tests.redis_server import RedisServer
from apps.user.models import User
from apps.user.tests.factories import make_user
from apps.user.tokens import issue_jwt

Committed = Callable[..., AbstractContextManager[list[Any]]]

pytestmark = pytest.mark.django_db

EVENT = {"type": "order_paid", "at": datetime(2026, 1, 2, tzinfo=UTC), "total": 9}
TEXT = '{"type": "order_paid", "at": "2026-01-02T00:00:00Z", "total": 9}'


@pytest.fixture
def tell(django_capture_on_commit_callbacks: Committed) -> Callable[..., Any]:
    """``notify`` in a transaction that commits."""

    def tell(user: User, event: dict[str, Any] = EVENT) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            notify(user, event)

    return database_sync_to_async(tell)


async def test_all_that_the_user_has_open(
    user: User, bearer: str, tell: Callable[..., Any]
) -> None:
    other = await database_sync_to_async(make_user)()
    async with (
        connected(NOTIFICATIONS, authorization=bearer) as one,
        connected(NOTIFICATIONS, authorization=bearer) as two,
        connected(NOTIFICATIONS, authorization=f"Bearer {issue_jwt(other).token}") as others,
    ):
        await tell(user)
        assert [await one.hears(), await two.hears()] == [TEXT, TEXT]
        await tell(other, {"for": "the other"})
        assert json.loads(await others.hears()) == {"for": "the other"}


async def test_a_client_has_nothing_to_say(
    user: User, bearer: str, tell: Callable[..., Any]
) -> None:
    async with connected(NOTIFICATIONS, authorization=bearer) as socket:
        await socket.send_to(text_data='{"type": "notification", "text": "mine"}')
        await tell(user)
        assert await socket.hears() == TEXT


async def test_a_visitor_has_none() -> None:
    assert await (await Socket(NOTIFICATIONS).open()).close_code() == 4401


def test_it_leaves_when_the_transaction_commits(
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


def test_what_json_cannot_hold_is_refused_at_once(user: User) -> None:
    with pytest.raises(TypeError):
        notify(user, {"user": user})


class TestRedis:
    async def test_from_another_process(self, user: User, bearer: str, redis: RedisServer) -> None:
        """A connection waits in one event loop, and ``notify`` sends from another."""
        async with connected(NOTIFICATIONS, authorization=bearer) as socket:
            await asyncio.to_thread(_send, user.pk, TEXT)
            assert await socket.hears() == TEXT

    async def test_waits_longer_than_the_client_of_redis_would(
        self, user: User, bearer: str, redis: RedisServer, tell: Callable[..., Any]
    ) -> None:
        """redis-py gives up after 5 seconds of silence unless told otherwise."""
        async with connected(NOTIFICATIONS, authorization=bearer) as socket:
            assert await socket.receive_nothing(timeout=6)
            await tell(user)
            assert await socket.hears() == TEXT

    async def test_a_restart_of_redis_closes_notifications(
        self,
        user: User,
        bearer: str,
        redis: RedisServer,
        tell: Callable[..., Any],
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
                await tell(user)
                assert await again.hears() == TEXT

    async def test_while_it_is_away(
        self, user: User, bearer: str, redis: RedisServer, tell: Callable[..., Any]
    ) -> None:
        redis.kill()
        refused = await Socket(NOTIFICATIONS, authorization=bearer).open()
        assert await refused.close_code() == 4503
        await tell(user)
        async with connected(authorization=bearer) as echo:
            assert await echo.echoes()
        redis.start()
        async with connected(NOTIFICATIONS, authorization=bearer) as again:
            await tell(user)
            assert await again.hears() == TEXT

    def test_readiness_warns(self, api: APIClient, redis: RedisServer) -> None:
        answers = []
        for change in (None, redis.kill, redis.start):
            if change:
                change()
            response = api.get("/api/v1/health/ready/")
            answers.append((response.status_code, response.json()["checks"]["channel_layer"]))
        assert answers == [(200, "ok"), (200, "warning"), (200, "ok")]
