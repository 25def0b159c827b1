"""Re-checks of the credentials of open connections. OWASP ASVS 5.0: 7.4.1, 7.4.2."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client
from pytest_django import Settings

from apps.api.consumers import EchoConsumer
from apps.api.websocket.consumer import GuardedConsumer
from apps.api.websocket.credentials import Credentials
from apps.api.websocket.tests.client import TIMEOUT, Socket, connected
from apps.api.websocket.tests.test_credentials import OWN, token_of
from apps.user import services
from apps.user.models import User
from apps.user.tests.factories import PASSWORD

Logged = Callable[[], list[dict[str, Any]]]
Rechecked = Callable[[], Awaitable[None]]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def frequent_checks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBSOCKET_RECHECK_SECONDS = 0.05
    # However late they are on a busy machine.
    for module in ("consumer", "limits"):
        monkeypatch.setattr(f"apps.api.websocket.{module}.lease_seconds", lambda: 60)


@pytest.fixture
def rechecked(monkeypatch: pytest.MonkeyPatch) -> Rechecked:
    """Return a function that waits until the next re-check has ended."""
    ended = asyncio.Event()
    check = GuardedConsumer._check

    async def counted(self: GuardedConsumer, credentials: Credentials) -> Credentials:
        try:
            return await check(self, credentials)
        finally:
            ended.set()

    async def rechecked() -> None:
        ended.clear()
        await asyncio.wait_for(ended.wait(), TIMEOUT)

    monkeypatch.setattr(GuardedConsumer, "_check", counted)
    return rechecked


@pytest.fixture
def browser(user: User) -> Client:
    """A browser in which ``user`` is logged in."""
    client = Client()
    client.force_login(user)
    return client


def session_of(browser: Client) -> str:
    return browser.cookies[django_settings.SESSION_COOKIE_NAME].value


def end_session(user: User) -> None:
    services.end_session(user, user.sessions.get().pk)


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User) -> None:
    services.change_password(user, current_password=PASSWORD, password="another horse")


def delete(user: User) -> None:
    user.delete()


async def test_a_connection_closes_when_its_token_expires(
    user: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WEBSOCKET_RECHECK_SECONDS = 3600
    expires_at = int(time.time()) + 1800
    # A clock by which the token expires in a moment.
    ahead = expires_at - time.time() - 0.1
    clock = SimpleNamespace(monotonic=time.monotonic, time=lambda: time.time() + ahead)
    monkeypatch.setattr("apps.api.websocket.consumer.time", clock)
    token = await database_sync_to_async(token_of)(user, exp=expires_at)
    socket = await Socket(authorization=f"Bearer {token}").open()
    assert await socket.close_code() == 4401


@pytest.mark.parametrize(
    "change", [end_session, services.end_sessions, change_password, deactivate, delete]
)
async def test_a_connection_closes_when_its_token_is_revoked(
    user: User, bearer: str, change: Callable[[User], object]
) -> None:
    socket = await Socket(authorization=bearer).open()
    assert await socket.echoes()
    await database_sync_to_async(change)(user)
    assert await socket.close_code() == 4401


@pytest.mark.parametrize("change", [services.end_sessions, change_password, deactivate, delete])
async def test_a_connection_closes_when_its_session_is_revoked(
    user: User, browser: Client, change: Callable[[User], object]
) -> None:
    socket = await Socket(session=session_of(browser), origin=OWN).open()
    assert await socket.echoes()
    await database_sync_to_async(change)(user)
    assert await socket.close_code() == 4401


async def test_a_connection_survives_the_end_of_another_session(user: User, bearer: str) -> None:
    async with connected(authorization=bearer) as socket:
        await database_sync_to_async(services.start_session)(user, services.Device())
        newest = await database_sync_to_async(user.sessions.latest)("created_at")
        await database_sync_to_async(services.end_session)(user, newest.pk)
        for _check in range(3):
            assert await socket.receive_nothing(timeout=0.05)
            assert await socket.echoes()


async def test_a_connection_closes_when_its_session_logs_out(browser: Client) -> None:
    socket = await Socket(session=session_of(browser), origin=OWN).open()
    assert await socket.echoes()
    await database_sync_to_async(browser.logout)()
    assert await socket.close_code() == 4401


async def test_a_connection_survives_a_change_of_the_secret_key(
    browser: Client, settings: Settings, rechecked: Rechecked
) -> None:
    """A re-check must not renew the session: the browser would not receive its new cookie."""
    async with connected(session=session_of(browser), origin=OWN) as socket:
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another key " * 5
        for _check in range(3):
            await rechecked()
        assert await socket.echoes()


async def test_a_recheck_refreshes_the_user(
    user: User, bearer: str, monkeypatch: pytest.MonkeyPatch, rechecked: Rechecked
) -> None:
    async def reply(consumer: EchoConsumer, **_message: object) -> None:
        await consumer.send(consumer.scope["user"].first_name)

    monkeypatch.setattr(EchoConsumer, "receive", reply)
    async with connected(authorization=bearer) as socket:
        user.first_name = "Renamed"
        await database_sync_to_async(user.save)()
        # The first of them may have begun before the change.
        await rechecked()
        await rechecked()
        await socket.send_to(text_data="name?")
        assert await socket.receive_text_or_bytes() == "Renamed"


async def test_a_connection_closes_when_its_slot_was_lost(
    user: User, bearer: str, settings: Settings
) -> None:
    settings.WEBSOCKET_CONNECTIONS_PER_USER = 1
    socket = await Socket(authorization=bearer).open()
    assert await socket.echoes()
    await database_sync_to_async(cache.set)(f"websocket:{user.pk}:0", "another", 60)
    assert await socket.close_code() == 4409


async def test_a_connection_that_the_server_cancels_closes_with_1000() -> None:
    socket = await Socket().open()
    assert await socket.echoes()
    socket.future.cancel()
    output = await socket.receive_output(TIMEOUT)
    assert (output["type"], output["code"]) == ("websocket.close", 1000)


async def test_a_connection_that_ends_without_a_code_is_logged_as_such(logged: Logged) -> None:
    socket = await Socket().open()
    await socket.send_input({"type": "websocket.disconnect"})
    await socket.wait(TIMEOUT)
    (line,) = [each for each in logged() if each["event"] == "websocket_closed"]
    assert line["code"] == 1005, "RFC 6455, section 7.1.5"


async def test_the_end_of_a_connection_is_logged(user: User, bearer: str, logged: Logged) -> None:
    started = time.monotonic()
    async with connected(authorization=bearer) as socket:
        assert await socket.echoes()
        assert await socket.receive_nothing(timeout=0.2)
    async with connected() as anonymous:
        assert await anonymous.echoes()
    first, second = [each for each in logged() if each["event"] == "websocket_closed"]
    elapsed = time.monotonic() - started
    assert 0.2 <= first.pop("seconds") <= elapsed
    assert second.pop("seconds") <= elapsed
    event = {"event": "websocket_closed", "path": "/ws/echo/", "code": 1000}
    assert (first, second) == (event | {"user": user.pk}, event | {"user": None})


async def test_a_connection_with_valid_credentials_stays_open(
    bearer: str, rechecked: Rechecked
) -> None:
    async with connected(authorization=bearer) as socket:
        for _check in range(3):
            await rechecked()
        assert await socket.echoes()


async def test_a_short_database_outage_closes_no_connection(
    bearer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(authorization=bearer) as socket:
        with monkeypatch.context() as outage:
            checks = fail_checks(outage)
            while not checks:
                assert await socket.receive_nothing(timeout=0.02)
        assert await socket.echoes()


async def test_a_long_database_outage_closes_the_connection(
    bearer: str, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    """The token may have been revoked in the meantime."""
    socket = await Socket(authorization=bearer).open()
    leases = iter([60, 60, 0])
    monkeypatch.setattr("apps.api.websocket.consumer.lease_seconds", lambda: next(leases))
    checks = fail_checks(monkeypatch)
    assert await socket.close_code() == 4503
    assert len(checks) == 3
    warnings = [each for each in logged() if each["event"] == "websocket_not_checked"]
    assert len(warnings) == 3
    assert {str(warning["error"]) for warning in warnings} == {"no database"}


async def test_an_unexpected_error_in_a_check_closes_the_connection(
    user: User, bearer: str, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    """Without checks the connection would stay open for ever."""
    socket = await Socket(authorization=bearer).open()
    checks = fail_checks(monkeypatch, ZeroDivisionError())
    assert await socket.close_code() == 4503
    assert len(checks) == 1
    assert {"event": "websocket_checks_failed", "user_id": user.pk} in logged()


def fail_checks(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> list[object]:
    """Make all further checks fail, and return the list of them."""
    checks: list[object] = []

    def fail(self: object, jwt: object) -> None:
        checks.append(jwt)
        raise error or OperationalError("no database")

    monkeypatch.setattr("rest_framework_simplejwt.authentication.JWTAuthentication.get_user", fail)
    return checks
