"""Services behind different proxies."""

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live import Server, Service, serving
from support.websocket_stack import HOST, nginx

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

HEALTH = "/api/v1/health/"


@pytest.fixture(scope="module", params=["gunicorn", "daphne", "uvicorn"])
def prefixed(live_service: Service, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of the service published under /svc."""
    with serving(live_service, request.param, prefix="/svc", SCRIPT_NAME="/svc") as server:
        yield server


# https://github.com/benoitc/gunicorn/issues/2650
@pytest.mark.parametrize("header", ["SCRIPT_NAME", "Script-Name", "Daphne-Root-Path"])
def test_a_client_cannot_choose_the_path_of_the_service(live_server: Server, header: str) -> None:
    """Otherwise a client could reach a path that the proxy blocks."""
    assert live_server.request(f"GET /svc{HEALTH}", f"{header}: /svc")[0] == 404
    status, text = live_server.request("GET /admin/login/", f"{header}: /svc")
    assert (status, "/svc" in text) == (200, False)


# https://github.com/abersheeran/a2wsgi/issues/62, https://github.com/benoitc/gunicorn/issues/2799
@pytest.mark.parametrize("header", ["X_Forwarded_Proto: https", "X-Forwarded-Ssl: on"])
def test_a_client_cannot_pose_as_a_proxy(live_server: Server, header: str) -> None:
    request = (
        f"GET /api/v1/users/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\nConnection: close\r\n\r\n"
    )
    assert live_server.raw(request.encode()).startswith(b"HTTP/1.1 301 ")


# https://github.com/netbox-community/netbox/issues/112
def test_the_admin_accepts_its_forms_on_a_public_port(live_service: Service) -> None:
    with serving(live_service, "gunicorn", URL_BASE="https://127.0.0.1:8443") as server:
        for origin, expected in (("https://127.0.0.1:8443", 200), ("https://127.0.0.1:9443", 403)):
            # The proxy sends the name of the host without the port.
            status, _text = server.request(
                "POST /admin/login/",
                f"Origin: {origin}",
                f"Cookie: __Secure-csrftoken={'a' * 32}",
                "Content-Type: application/x-www-form-urlencoded",
                body=b"csrfmiddlewaretoken=" + b"a" * 32,
            )
            assert status == expected


# https://github.com/evansd/whitenoise/issues/140, https://github.com/evansd/whitenoise/issues/88
def test_a_service_under_a_path_has_it_in_every_link(prefixed: Server) -> None:
    status, page = prefixed.request("GET /svc/admin/login/")
    links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
    assert status == 200
    assert links
    assert [link for link in links if not link.startswith("/svc/")] == []
    (style, *_others) = [link for link in links if link.endswith(".css")]
    assert prefixed.request(f"GET {style}")[0] == 200
    assert prefixed.request("GET /svc/admin/")[0] == 302
    assert prefixed.request("GET /svc/api/schema/?format=json")[0] == 200


def test_a_service_under_a_path_answers_probes_without_https(prefixed: Server) -> None:
    request = f"GET /svc{HEALTH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert prefixed.raw(request.encode()).endswith(b'{"status":"ok"}')


# https://github.com/twisted/twisted/issues/10191: Daphne has no limit of its own.
@pytest.mark.parametrize(
    ("length", "body"),
    [
        ("Content-Length: 299000000\r\n\r\n", b""),
        ("Transfer-Encoding: chunked\r\n\r\n300000\r\n", b"a" * 0x300000),
    ],
    ids=["length", "chunked"],
)
def test_the_documented_proxy_refuses_a_large_body(
    live_server: Server, tmp_path: Path, length: str, body: bytes
) -> None:
    position = len(live_server.log())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        nginx(tmp_path, [live_server.port]) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as connection,
        context.wrap_socket(connection) as client,
    ):
        head = f"POST /admin/login/ HTTP/1.1\r\nHost: {HOST}\r\n{length}"
        client.sendall(head.encode() + body)
        assert client.recv(65_536).startswith(b"HTTP/1.1 413 ")
    assert len(live_server.log()) == position
