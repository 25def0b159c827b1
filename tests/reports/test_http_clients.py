"""Requests of other HTTP clients."""

import json
import socket
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.live import Server, Service

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

LOGIN = "POST /api/v1/auth/login/"
JSON = "Content-Type: application/json"
CREDENTIALS = json.dumps({"email": "nobody@example.com", "password": "wrong password"}).encode()


@pytest.fixture(scope="module")
def token(live_service: Service) -> str:
    """The JWT of a user."""
    jwt: str = live_service.shell("""
from apps.user.models import User
from apps.user.tests.factories import make_token

user = User.objects.filter(email="http@example.com").first()
user = user or User.objects.create_superuser("http@example.com", "correct horse battery")
result = make_token(user)
""")
    return jwt


# https://github.com/python/cpython/pull/151812: the time of decoding punycode grows with the
# square of the length. 320 kB took 12 seconds.
@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=punycode",
        "multipart/form-data; boundary=x; charset=punycode",
        "application/x-www-form-urlencoded; charset=punycode",
        "text/plain; charset=hex",
        "text/plain; charset*=utf-8''hex",
        "text/plain; charset=unknown",
    ],
)
@pytest.mark.parametrize("line", [f"{LOGIN}?a=b", "POST /admin/login/?a=b", "POST /nowhere/?a=b"])
def test_a_charset_other_than_utf8_is_refused_before_anything_is_decoded(
    live_server: Server, line: str, content_type: str
) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"a" * 320_000
    status, text = live_server.request(
        line, f"Content-Type: {content_type}", body=body + b"\r\n--x--\r\n"
    )
    assert status == 415
    assert json.loads(text)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"'])
def test_utf8_is_accepted_as_a_charset(live_server: Server, charset: str) -> None:
    status, _text = live_server.request(LOGIN, f"{JSON}; charset={charset}", body=CREDENTIALS)
    assert status == 401


# https://github.com/django/daphne/issues/476
def test_a_chunked_body_is_read(live_server: Server, token: str) -> None:
    (user,) = live_server.service.shell("""
from apps.user.models import User

result = list(User.objects.filter(email="http@example.com").values_list("pk", flat=True))
""")
    body = json.dumps({"first_name": live_server.name}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:], b""))
    status, text = live_server.request(
        f"PATCH /api/v1/users/{user}/",
        JSON,
        "Transfer-Encoding: chunked",
        f"Authorization: Bearer {token}",
        body=chunks,
    )
    assert (status, json.loads(text)["first_name"]) == (200, live_server.name)


# https://github.com/jazzband/djangorestframework-simplejwt/issues/908
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_authorization_scheme_may_have_any_case(
    live_server: Server, token: str, scheme: str
) -> None:
    status, _text = live_server.request("GET /api/v1/users/", f"Authorization: {scheme} {token}")
    assert status == 200


# https://github.com/jpadilla/pyjwt/issues/190
@pytest.mark.parametrize(("seconds", "expected"), [(3, 200), (60, 401)])
def test_a_token_of_a_machine_whose_clock_is_a_little_ahead_is_accepted(
    live_server: Server, token: str, seconds: int, expected: int
) -> None:
    early = live_server.service.shell(f"""
import time
from rest_framework_simplejwt.tokens import AccessToken

jwt = AccessToken({token!r})
jwt["iat"] = int(time.time()) + {seconds}
result = str(jwt)
""")
    status, _text = live_server.request("GET /api/v1/users/", f"Authorization: Bearer {early}")
    assert status == expected


# https://github.com/rails/activerecord-session_store/issues/79
# https://github.com/philgyford/pepysdiary/issues/603
def test_a_nul_character_is_refused_as_malformed(live_server: Server) -> None:
    for line, cookie in (
        ("GET /admin/", r'__Secure-sessionid="a\000b"'),
        ("GET /admin/", r'unknown="a\000b"'),
        ("GET /admin/login/?next=%00", "a=b"),
        ("GET /admin/user/user/%00/change/", "a=b"),
    ):
        status, text = live_server.request(line, f"Cookie: {cookie}")
        assert (status, json.loads(text)["code"]) == (400, "parse_error")


def test_invalid_bytes_cause_no_server_error(live_server: Server, token: str) -> None:
    for line, header in (
        ("GET /api/v1/users/?q=%ff%ed%a0%80", f"Authorization: Bearer {token}"),
        ("GET /api/v1/%ff%ed%a0%80/", "Accept-Language: \xff"),
        ("GET /api/v1/users/", "Authorization: Bearer \xff"),
        ("GET /api/v1/users/", "Cookie: \xff=\xfe; __Secure-sessionid=\xff"),
        ("GET /api/v1/health/", "Accept: \xff;;,"),
        ("GET /api/v1/health/", f"Content-Type: text/plain; x={'a' * 8000}"),
        ("GET /api/v1/health/", "X-Request-ID: \xff"),
        ("GET /api/v1/users/\xff/?\xfe", "Accept: */*"),
    ):
        status, _text = live_server.request(line, header)
        assert status < 500, (line, header)


# https://github.com/digitalfabrik/integreat-cms/issues/2283
@pytest.mark.parametrize("path", ["/api/v1/auth/login/", "/admin/login/"])
def test_a_client_that_disconnects_within_its_body_causes_no_error(
    live_server: Server, path: str
) -> None:
    position = len(live_server.log())
    head = f"""POST {path} HTTP/1.1
Host: 127.0.0.1
X-Forwarded-Proto: https
Referer: https://127.0.0.1/
Cookie: __Secure-csrftoken={"a" * 32}
Content-Type: application/{"json" if "api" in path else "x-www-form-urlencoded"}
"""
    for length in ("Content-Length: 100\n\n", "Transfer-Encoding: chunked\n\n64\n"):
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):
            with socket.create_connection(("127.0.0.1", live_server.port)) as connection:
                connection.sendall(f"{head}{length}".replace("\n", "\r\n").encode() + b"csrf=")
                # The service waits for the rest of the body. The first connection ends with a reset.
                time.sleep(0.1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    time.sleep(0.5)
    lines = live_server.log()[position:].splitlines()
    assert not [line for line in lines if '"level": "error"' in line or "Traceback" in line]
    # The worker logs to the same file. The check of the admin's form writes a second line.
    of_requests = [line for line in lines if '"request_id"' in line]
    assert len(of_requests) <= (4 if "api" in path else 6), of_requests


# https://github.com/twisted/twisted/issues/4898, https://github.com/Kludex/uvicorn/issues/371
@pytest.mark.parametrize("path", ["/api/v1/auth/login/", "/admin/login/", "/nowhere/"])
def test_a_large_body_is_refused(live_server: Server, path: str) -> None:
    # Daphne reads all of a body before it calls the service.
    complete = live_server.name == "daphne"
    part = b"a" * 3_000_000
    whole = len(part) if complete else 299 * 2**20
    chunk = b"%x\r\n%s\r\n" % (len(part), part) + (b"0\r\n\r\n" if complete else b"")
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n{JSON}\r\n"
    for length, body in (
        (f"Content-Length: {whole}", part if complete else b"a"),
        ("Transfer-Encoding: chunked", chunk),
    ):
        with socket.create_connection(("127.0.0.1", live_server.port), timeout=5) as connection:
            connection.sendall(f"{head}{length}\r\n\r\n".encode() + body)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


# https://github.com/django/daphne/issues/442
def test_many_requests_at_once_find_a_database_connection(live_server: Server, token: str) -> None:
    def call(_number: int) -> int:
        header = f"Authorization: Bearer {token}"
        return live_server.request("GET /api/v1/users/", header)[0]

    with ThreadPoolExecutor(64) as clients:
        assert Counter(clients.map(call, range(512))) == {200: 512}
