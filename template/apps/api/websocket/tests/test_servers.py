"""Tests over a real server, with the settings of development and without queries."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from daphne.management.commands.runserver import Command
from django.conf import settings
from django.core.management import get_commands, load_command_class
from websockets import ConnectionClosed, InvalidStatus, Subprotocol
from websockets.sync.client import ClientConnection, connect

from api_core.env import BASE_DIR
from apps.api.websocket.tests.client import TIMEOUT

# Not a JWT, so it is rejected without a query.
TOKEN = "a.secret.token"
WAYS: list[dict[str, Any]] = [
    {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}},
    {"subprotocols": [Subprotocol("jwt"), Subprotocol(TOKEN)]},
]


class Server:
    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name = name
        self.address = f"127.0.0.1:{port}"
        self.log = log
        self.process: subprocess.Popen[bytes]

    def connect(self, path: str = "/ws/echo/", **options: Any) -> ClientConnection:
        client: ClientConnection = connect(f"ws://{self.address}{path}", **options)
        return client


def wait_for(server: Server) -> None:
    for _attempt in range(1200):
        try:
            urlopen(f"http://{server.address}/api/v1/health/", timeout=5).close()
        except URLError:
            assert server.process.poll() is None, server.log.read_text()
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the server does not answer: {server.log.read_text()}")


@contextmanager
def started(name: str, folder: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    server = Server(name, port, folder / "log")
    variables = {
        "DJANGO_SETTINGS_MODULE": "api_core.settings.dev",
        "DJANGO_LOG_LEVEL": "DEBUG",
        "SERVER": name,
        "BIND": "127.0.0.1",
        "PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    options = ["--log-level", "debug"] if name == "uvicorn" else ["--verbosity", "3"]
    with server.log.open("wb") as log:
        server.process = subprocess.Popen(  # noqa: S603 - our own script
            [BASE_DIR / "start_server.sh", *options],
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(server)
        yield server
    finally:
        server.process.terminate()
        server.process.wait(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Return a function that returns a running server, a new one if a test has stopped it."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(name: str) -> Server:
            if name not in running or running[name].process.poll() is not None:
                running[name] = stack.enter_context(started(name, tmp_path_factory.mktemp(name)))
            return running[name]

        yield get


@pytest.fixture(params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    return servers(request.param)


def test_a_message_is_sent_back(server: Server) -> None:
    with server.connect() as client:
        for message in ("olá", b"\x00\xff"):
            client.send(message)
            assert client.recv(timeout=TIMEOUT) == message


@pytest.mark.parametrize("kind", [str, bytes])
def test_a_message_that_is_too_big_closes_with_4413(
    server: Server, kind: type[str | bytes]
) -> None:
    message = "x" * (settings.WEBSOCKET_MAX_MESSAGE_BYTES + 1)
    with server.connect() as client:
        client.send(message if kind is str else message.encode())
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=TIMEOUT)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4413


@pytest.mark.parametrize("path", ["/ws/nothing/", "/"])
def test_an_unknown_path_is_refused(server: Server, path: str) -> None:
    with pytest.raises(InvalidStatus) as denied, server.connect(path):
        pass
    assert denied.value.response.status_code == 403


@pytest.mark.parametrize("way", WAYS, ids=["header", "subprotocol"])
def test_an_invalid_token_closes_with_4401(server: Server, way: dict[str, Any]) -> None:
    with server.connect(**way) as client:
        assert client.subprotocol == ("jwt" if "subprotocols" in way else None)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=TIMEOUT)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4401


def test_a_stop_closes_websockets_with_a_code(server: Server) -> None:
    """It also reads the log, which is at its most verbose level."""
    for way in WAYS:
        with server.connect(**way) as refused, pytest.raises(ConnectionClosed):
            refused.recv(timeout=TIMEOUT)
    with server.connect() as client:
        if server.name == "daphne":
            # In the first second after a handshake, Daphne closes WebSockets without a code.
            # The echo shows that a check which Daphne makes each second has run since.
            time.sleep(1.1)
        client.send("hello")
        assert client.recv(timeout=TIMEOUT) == "hello"
        assert server.process.poll() is None, server.log.read_text()
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=TIMEOUT)
    assert closed.value.rcvd
    assert closed.value.rcvd.code == {"daphne": 1000, "uvicorn": 1012}[server.name]
    server.process.wait(timeout=TIMEOUT)
    log = server.log.read_text()
    assert "websocket_closed" in log
    assert TOKEN not in log
    assert "Traceback" not in log


def test_a_process_that_is_not_daphne_does_not_load_it(production: dict[str, Any]) -> None:
    assert "api_core.asgi" in production["modules_with_asgi"]
    assert "daphne" not in production["modules_with_asgi"]


def test_runserver_serves_websockets() -> None:
    assert get_commands()["runserver"] == "apps.api.websocket"
    assert isinstance(load_command_class("apps.api.websocket", "runserver"), Command)
