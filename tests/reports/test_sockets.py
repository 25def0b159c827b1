"""WebSocket handshakes and messages of other clients, proxies and attackers."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.live import Server
from websockets import InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("reports"),
    pytest.mark.parametrize("live_server", ["daphne", "uvicorn"], indirect=True),
]

CREATE_USER = """
from django.conf import settings
from django.test import Client
from django.utils import timezone
from apps.user.models import User
from apps.user.tests.factories import make_token
user, _created = User.objects.get_or_create(email="sockets@example.com")
user.email_confirmed_at = timezone.now()
user.save()
client = Client()
client.force_login(user)
session = client.cookies[settings.SESSION_COOKIE_NAME]
result = {"jwt": make_token(user), "name": session.key, "session": session.value}
"""

type Open = Callable[..., ClientConnection]


@pytest.fixture(scope="module")
def user(live_service: Any) -> dict[str, str]:
    """Create a user: ``jwt``, and ``session`` for the cookie ``name``."""
    return live_service.shell(CREATE_USER)  # type: ignore[no-any-return]


@pytest.fixture
def echo(live_server: Server) -> Open:
    """Return a function that connects to the echo with headers."""

    def connect_to_echo(**headers: str) -> ClientConnection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(f"ws://127.0.0.1:{live_server.port}/ws/echo/", additional_headers=named)

    return connect_to_echo


def echoes(connection: ClientConnection) -> bool:
    with connection:
        connection.send("hello")
        return connection.recv(timeout=20) == "hello"


def is_refused(echo: Open, **headers: str) -> bool:
    with pytest.raises(InvalidStatus) as refusal:
        echo(**headers)
    # Daphne refuses some of them itself, with 400.
    return refusal.value.response.status_code in {400, 403}


# https://github.com/OctoPrint/OctoPrint/issues/3193 "for non-browser clients, this header field may
# be sent if it makes sense"
def test_a_program_needs_no_origin(echo: Open, user: dict[str, str]) -> None:
    cookie = f"{user['name']}={user['session']}"
    assert echoes(echo(X_Forwarded_Proto="https", Cookie=cookie))
    assert is_refused(echo, X_Forwarded_Proto="https", Cookie=cookie, Origin="https://evil.example")


# https://github.com/traefik/traefik/issues/6388 "X-Forwarded-Proto uses non official(?) values wss"
def test_only_an_encrypted_connection_is_accepted(echo: Open, user: dict[str, str]) -> None:
    bearer = f"Bearer {user['jwt']}"
    for proto in ("https", "wss"):
        assert echoes(echo(X_Forwarded_Proto=proto, Authorization=bearer))
    for proto in ("http", "ws"):
        assert is_refused(echo, X_Forwarded_Proto=proto, Authorization=bearer)
    assert is_refused(echo, Authorization=bearer)


# https://github.com/jazzband/djangorestframework-simplejwt/pull/977
def test_the_scheme_of_the_header_is_case_insensitive(echo: Open, user: dict[str, str]) -> None:
    assert echoes(echo(X_Forwarded_Proto="https", Authorization=f"bearer {user['jwt']}"))


# https://github.com/rails/activerecord-session_store/issues/79 "session_id is set to %00"
def test_odd_bytes_in_a_handshake_cause_no_server_error(
    echo: Open, live_server: Server, user: dict[str, str]
) -> None:
    logged = len(live_server.log())
    name = user["name"]
    for headers in (
        {"Cookie": rf'{name}="\000aaaaaaaa"'},
        {"Origin": "http://["},
    ):
        assert is_refused(echo, X_Forwarded_Proto="https", **headers)
    assert "Traceback" not in live_server.log()[logged:]


# https://github.com/django/daphne/issues/170
def test_clients_that_never_read_use_bounded_memory(
    live_server: Server, user: dict[str, str]
) -> None:
    before = resident_mebibytes(live_server)
    clients = [handshake(live_server, user["jwt"]) for _client in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(send_and_never_read, clients))
    after = resident_mebibytes(live_server)
    for client in clients:
        client.close()
    assert after - before < 60


def handshake(server: Server, token: str) -> socket.socket:
    """Open a WebSocket of a client that reads nothing after the handshake."""
    client = socket.create_connection(("127.0.0.1", server.port), 20)
    client.sendall(
        (
            "GET /ws/echo/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-Proto: https\r\n"
            f"Authorization: Bearer {token}\r\n\r\n"
        ).encode()
    )
    assert client.recv(12) == b"HTTP/1.1 101"
    return client


def send_and_never_read(client: socket.socket) -> None:
    """Send 9 MiB within the limit of messages, or less if the server stops reading or closes."""
    text = b"x" * 65_000
    message = b"\x81\xfe" + len(text).to_bytes(2) + bytes(4) + text  # masked with zeros
    client.settimeout(3)
    with suppress(OSError):
        client.sendall(message * 99)
        for _tenth in range(50):
            time.sleep(0.1)
            client.sendall(message)


def resident_mebibytes(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024
