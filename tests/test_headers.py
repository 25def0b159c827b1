"""Security headers, from every server with production settings."""

import pytest
from support.live import Server

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]


def test_production_sends_security_headers(live_server: Server) -> None:
    request = (
        b"GET /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    )
    head = live_server.raw(request).partition(b"\r\n\r\n")[0].decode("latin-1")
    lines = [line.partition(": ") for line in head.splitlines()[1:]]
    headers = {name.lower(): value for name, _colon, value in lines}
    assert headers["strict-transport-security"] == "max-age=31536000; includeSubDomains; preload"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["set-cookie"].startswith("__Secure-csrftoken=")
    assert "Secure" in headers["set-cookie"].split("; ")
