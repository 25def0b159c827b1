import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.core.cache import cache
from django.db import OperationalError, connections
from pytest_django import Settings

from apps.api.websocket.limits import RateLimit, keep_slot, release_slot, take_slot
from apps.api.websocket.tests.client import TIMEOUT, Socket, connected
from apps.user.models import User
from apps.user.tests.factories import make_token, make_user

Logged = Callable[[], list[dict[str, Any]]]

pytestmark = pytest.mark.django_db


class TestSize:
    @pytest.fixture(autouse=True)
    def ten_bytes(self, settings: Settings) -> None:
        settings.WEBSOCKET_MAX_MESSAGE_BYTES = 10

    async def test_a_message_of_the_maximum_size_is_accepted(self) -> None:
        async with connected() as socket:
            assert await socket.echoes("x" * 10)
            assert await socket.echoes("é" * 5)

    @pytest.mark.parametrize("text", ["x" * 11, "é" * 6])
    async def test_a_text_above_the_maximum_size_closes_the_connection(self, text: str) -> None:
        socket = await Socket().open()
        await socket.send_to(text_data=text)
        assert await socket.close_code() == 4413

    async def test_bytes_above_the_maximum_size_close_the_connection(self) -> None:
        socket = await Socket().open()
        await socket.send_to(bytes_data=b"x" * 11)
        assert await socket.close_code() == 4413


class TestRate:
    async def test_too_many_messages_close_the_connection(self, settings: Settings) -> None:
        settings.WEBSOCKET_MESSAGES, settings.WEBSOCKET_MESSAGES_SECONDS = 3, 3600
        socket = await Socket().open()
        for _message in range(3):
            assert await socket.echoes()
        await socket.send_to(text_data="one too many")
        assert await socket.close_code() == 4429

    def test_the_rate_limit_allows_messages_again_after_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        rate = RateLimit(count=2, seconds=10)
        assert [rate.allows() for _message in range(3)] == [True, True, False]
        now += 10
        assert [rate.allows() for _message in range(2)] == [True, False]
        now += 3600
        assert [rate.allows() for _message in range(3)] == [True, True, False]


class TestSentBytes:
    async def test_too_many_sent_bytes_close_the_connection(self, settings: Settings) -> None:
        settings.WEBSOCKET_CONNECTION_BYTES = 10
        socket = await Socket().open()
        for text in ("x" * 6, "é" * 2):
            assert await socket.echoes(text)
        await socket.send_to(bytes_data=b"x")
        assert await socket.receive_from() == b"x"
        assert await socket.close_code() == 1000


class TestConnections:
    @pytest.fixture(autouse=True)
    def two_connections(self, settings: Settings) -> None:
        settings.WEBSOCKET_CONNECTIONS_PER_USER = 2

    async def test_too_many_connections_are_refused(self, bearer: str) -> None:
        async with connected(authorization=bearer), connected(authorization=bearer):
            refused = await Socket(authorization=bearer).open()
            assert await refused.close_code() == 4409

    async def test_a_closed_connection_releases_its_slot(self, bearer: str) -> None:
        async with connected(authorization=bearer):
            async with connected(authorization=bearer):
                pass
            async with connected(authorization=bearer) as socket:
                assert await socket.echoes()

    async def test_a_refused_connection_takes_no_slot(self, bearer: str) -> None:
        async with connected(authorization=bearer):
            async with connected(authorization=bearer):
                await (await Socket(authorization=bearer).open()).close_code()
            async with connected(authorization=bearer) as socket:
                assert await socket.echoes()

    async def test_each_user_has_a_limit_of_their_own(self, bearer: str) -> None:
        other = await database_sync_to_async(make_user)()
        async with connected(authorization=bearer), connected(authorization=bearer):
            header = f"Bearer {await database_sync_to_async(make_token)(other)}"
            async with connected(authorization=header) as socket:
                assert await socket.echoes()

    async def test_a_slot_is_kept_while_the_connection_is_open(
        self, bearer: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.WEBSOCKET_RECHECK_SECONDS = 0.1
        kept: Queue[bool] = Queue()

        def keep(slot: str, connection: str) -> bool:
            is_kept = keep_slot(slot, connection)
            kept.put(is_kept)
            return is_kept

        monkeypatch.setattr("apps.api.websocket.consumer.keep_slot", keep)
        monkeypatch.setattr("apps.api.websocket.limits.lease_seconds", lambda: 60)
        async with connected(authorization=bearer):
            assert await asyncio.to_thread(kept.get, timeout=TIMEOUT)

    def test_the_slot_of_a_killed_process_expires(self, user: User, settings: Settings) -> None:
        settings.WEBSOCKET_RECHECK_SECONDS = -1
        slot = take_slot(user, "killed")
        assert slot
        settings.WEBSOCKET_RECHECK_SECONDS = 60
        assert take_slot(user, "alive") == slot
        assert take_slot(user, "another")
        assert not take_slot(user, "new")
        settings.WEBSOCKET_RECHECK_SECONDS = -1
        assert keep_slot(slot, "alive")
        settings.WEBSOCKET_RECHECK_SECONDS = 60
        assert take_slot(user, "new") == slot
        assert not keep_slot(slot, "alive")

    async def test_each_connection_has_a_slot_of_its_own(self, user: User, bearer: str) -> None:
        slots = [f"websocket:{user.pk}:{number}" for number in range(2)]
        async with connected(authorization=bearer), connected(authorization=bearer):
            taken = await database_sync_to_async(cache.get_many)(slots)
        assert len(set(taken.values())) == 2

    async def test_a_slot_that_cannot_be_released_is_logged(
        self, bearer: str, logged: Logged, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_slot: str, _connection: str) -> None:
            raise OperationalError("no database")

        monkeypatch.setattr("apps.api.websocket.consumer.release_slot", fail)
        async with connected(authorization=bearer):
            pass
        (warning,) = [each for each in logged() if each["event"] == "websocket_slot_not_released"]
        assert str(warning["error"]) == "no database"

    def test_only_its_own_connection_releases_a_slot(self, user: User) -> None:
        take_slot(user, "one")
        slot = take_slot(user, "two")
        assert slot
        release_slot(slot, "three")
        assert not take_slot(user, "three")
        release_slot(slot, "two")
        assert take_slot(user, "three") == slot


def test_a_user_can_have_ten_connections(user: User) -> None:
    slots = [take_slot(user, str(number)) for number in range(11)]
    assert [slot is not None for slot in slots] == [True] * 10 + [False]


@pytest.mark.django_db(transaction=True)
def test_concurrent_connections_do_not_exceed_the_limit(user: User, settings: Settings) -> None:
    settings.WEBSOCKET_CONNECTIONS_PER_USER = 3
    cache.clear()

    def in_a_thread(number: int) -> bool:
        try:
            return take_slot(user, str(number)) is not None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(in_a_thread, range(8))) == 3
