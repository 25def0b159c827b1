"""docker/vm/Caddyfile in front of a service, with certificates of Caddy's internal CA."""

import re
import secrets
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from support import TEMPLATE
from support.containers import wait_until
from support.live import Server, Service, serving
from support.servers import free_port, started
from support.walk import Api
from support.websocket_stack import needs, wait_for_port
from websockets import Subprotocol
from websockets.sync.client import connect

# The service is that of tests/reports.
pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

FORGED = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}


class Caddy(NamedTuple):
    folder: Path
    http: int
    https: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https}"

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts Caddy's own authority only."""
        authority = self.folder / "caddy/pki/authorities/local/root.crt"
        return ssl.create_default_context(cafile=str(authority))

    def log(self) -> str:
        return (self.folder / "program.log").read_text()

    def connection(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("localhost", self.https), timeout=20)
        return self.tls().wrap_socket(plain, server_hostname="localhost")


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[Caddy]:
    """Run the Caddyfile of every service. Only addresses are changed."""
    running = Caddy(folder, free_port(), free_port())
    text = (TEMPLATE / "docker/vm/Caddyfile").read_text()
    here = f"default_bind 127.0.0.1\nhttp_port {running.http}\nhttps_port {running.https}\n"
    for written, changed in {
        # Without the last line, Caddy would install the authority on this machine.
        "\tadmin off\n": f"\tadmin off\n{here}skip_install_trust\n",
        "web:8000": f"127.0.0.1:{upstream}",
    }.items():
        assert text.count(written) == 1, written
        text = text.replace(written, changed)
    (folder / "Caddyfile").write_text(text)
    folders = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [needs("caddy"), "run", "--config", "Caddyfile"]
    with started(*command, cwd=folder, DOMAIN="localhost", **folders):
        wait_until(lambda: "certificate obtained" in running.log(), 60)
        wait_for_port(running.http)
        yield running


@pytest.fixture(scope="module")
def server(live_service: Service) -> Iterator[Server]:
    """Daphne, which needs the limits of the proxy most."""
    hosts = {"DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1"}
    with serving(live_service, "daphne", **hosts) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    with caddy(tmp_path_factory.mktemp("caddy"), server.port) as running:
        yield running


@pytest.fixture
def api(proxy: Caddy) -> Api:
    return Api(proxy.url, FORGED, proxy.tls())


def log_in(api: Api, server: Server) -> None:
    """Register, confirm the address, and log in."""
    email = f"{secrets.token_hex(4)}@example.com"
    credentials = {"email": email, "password": "correct horse battery"}
    names = {"first_name": "Ana", "last_name": "Souza"}
    registered = api("POST", "auth/register/", credentials | names)
    assert registered.status == 201, registered
    link = re.search(r"/confirm_email/#token=([\w:-]+)", server.service.mailboxes.read(email))
    assert link
    assert api("POST", "auth/confirm_email/", {"token": link[1]}).status == 200
    api.token = api("POST", "auth/login/", credentials).body["token"]


def test_a_client_gets_from_registration_to_the_echo(
    api: Api, server: Server, proxy: Caddy
) -> None:
    log_in(api, server)
    url = f"wss://localhost:{proxy.https}/ws/echo/"
    protocols = [Subprotocol("jwt"), Subprotocol(api.token)]
    with connect(url, subprotocols=protocols, ssl=proxy.tls()) as connection:
        connection.send("à toi")
        assert connection.recv(timeout=20) == "à toi"

    log = proxy.log()
    assert "/ws/echo/" in log
    assert '"remote_ip":"127.0.0.1"' in log
    assert api.token not in log


def test_a_client_cannot_forge_the_headers_of_the_proxy(api: Api, server: Server) -> None:
    log_in(api, server)
    sessions = api("GET", "auth/sessions/").body
    assert {session["address"] for session in sessions} == {"127.0.0.1"}


def test_http_is_redirected(proxy: Caddy) -> None:
    request = urllib.request.Request(f"http://localhost:{proxy.http}/api/v1/health/")
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.HTTPHandler())
    with opener.open(request, timeout=20) as response:
        assert response.status == 308
        assert response.headers["Location"] == "https://localhost/api/v1/health/"


@pytest.mark.parametrize(
    ("length", "body"),
    [
        ("Content-Length: 2621441\r\n\r\n", b"a" * 2_621_441),
        ("Transfer-Encoding: chunked\r\n\r\n280001\r\n", b"a" * 0x280001 + b"\r\n0\r\n\r\n"),
    ],
    ids=["length", "chunked"],
)
def test_a_large_body_does_not_reach_the_service(
    proxy: Caddy, server: Server, length: str, body: bytes
) -> None:
    position = len(server.log())
    with proxy.connection() as client:
        head = f"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\n{length}"
        client.sendall(head.encode() + body)
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 "), proxy.log()[-3000:]
    assert "/admin/login/" not in server.log()[position:]


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


def test_a_request_waits_while_the_service_restarts(tmp_path: Path) -> None:
    port = free_port()
    with caddy(tmp_path, port) as proxy, proxy.connection() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(65_536)
        client.settimeout(20)
        with ThreadingHTTPServer(("127.0.0.1", port), Hello) as service:
            threading.Thread(target=service.serve_forever).start()
            try:
                assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
            finally:
                service.shutdown()
