"""Requests that are refused before a view."""

import json
from io import BytesIO
from typing import Any, cast
from wsgiref.util import setup_testing_defaults

import pytest
from django.test import Client

from api_core.wsgi import application
from apps.user.api.auth import LoginView
from common.drf.middleware import RequestBodyMiddleware

# A request closes old connections of the database.
pytestmark = pytest.mark.django_db

LIMIT = 2_621_440  # 2.5 MiB, the documented limit


class UnreadableBody(BytesIO):
    """A body that must not be read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError


class ResetBody(BytesIO):
    """A body whose client has reset the connection."""

    def read(self, size: int | None = -1) -> bytes:
        raise ConnectionResetError


def call(path: str = "/nowhere/", body: BytesIO | None = None, **variables: str) -> tuple[int, Any]:
    """Call the WSGI application, and return the status and the JSON of the response."""
    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_HOST": "localhost"} | variables
    environ |= {"wsgi.input": body or BytesIO(), "wsgi.input_terminated": True}
    setup_testing_defaults(environ)
    statuses: list[str] = []

    def start_response(status: str, *_rest: Any) -> Any:
        statuses.append(status)

    content = b"".join(application(environ, start_response))
    return int(statuses[0].split()[0]), json.loads(content)


def received(
    body: BytesIO | None = None, markers: dict[str, Any] | None = None, **variables: str
) -> dict[str, Any]:
    """Call the middleware, and return the environment that the application receives."""
    environs: list[dict[str, Any]] = []

    def application(environ: Any, _start_response: Any) -> list[bytes]:
        environs.append(environ)
        return []

    environ = {"wsgi.input": body or BytesIO()} | variables | (markers or {})
    RequestBodyMiddleware(application)(environ, lambda *_: lambda _: None)
    return environs[0]


def test_a_refusal_is_in_the_language_of_its_own_request() -> None:
    punycode = "application/json; charset=punycode"
    for language, detail in (("pt-br", "Tipo de mídia"), ("en", "Unsupported media type")):
        for _time in range(2):
            _status, body = call(HTTP_ACCEPT_LANGUAGE=language, CONTENT_TYPE=punycode)
            assert body["detail"].startswith(detail)


class TestCharsets:
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json; charset=punycode",
            "text/plain; charset=hex",
            "text/plain; charset*=utf-8''hex",
            "text/plain; charset=",
            f"text/plain; x={'a' * 20_000}",
        ],
    )
    def test_a_charset_other_than_utf8_is_unsupported(self, content_type: str) -> None:
        status, error = call(CONTENT_TYPE=content_type, QUERY_STRING="a=b")
        assert (status, error["code"]) == (415, "unsupported_media_type")
        assert content_type in error["detail"]

    @pytest.mark.parametrize("charset", ["UTF-8", "utf8"])
    def test_utf8_is_accepted(self, charset: str) -> None:
        assert call(CONTENT_TYPE=f"application/json; charset={charset}")[0] == 404

    def test_a_request_without_a_content_type_is_accepted(self) -> None:
        assert "CONTENT_TYPE" not in received()

    def test_a_refused_body_is_read_and_not_passed_on(self) -> None:
        body = BytesIO(b"secret")
        environ = received(body, CONTENT_TYPE="text/plain; charset=hex", CONTENT_LENGTH="6")
        assert body.tell() == 6
        assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("", "0")
        assert environ["wsgi.input"].read() == b""


class TestBodies:
    def test_a_body_that_is_too_large_is_not_read(self) -> None:
        status, error = call(body=UnreadableBody(), CONTENT_LENGTH=str(LIMIT + 1))
        assert (status, error["code"]) == (413, "payload_too_large")

    def test_a_body_of_the_maximum_size_is_passed_on(self) -> None:
        assert received(CONTENT_LENGTH=str(LIMIT))["CONTENT_LENGTH"] == str(LIMIT)

    def test_a_body_can_be_read_in_parts_and_in_lines(self) -> None:
        body = received(BytesIO(b"first\nsecond\n"), CONTENT_LENGTH="13")["wsgi.input"]
        assert (body.read(3), body.readline(), body.read(6)) == (b"fir", b"st\n", b"second")

    def test_a_chunked_body_is_passed_on_with_its_length(self) -> None:
        markers = {"wsgi.input_terminated": True}
        environ = received(BytesIO(b"chunks"), markers, HTTP_TRANSFER_ENCODING="chunked")
        assert environ["CONTENT_LENGTH"] == "6"
        assert environ["wsgi.input"].read(6) == b"chunks"

    def test_a_chunked_body_that_the_server_does_not_decode_is_not_read(self) -> None:
        received(UnreadableBody(), HTTP_TRANSFER_ENCODING="chunked")

    def test_a_chunked_body_is_read_up_to_the_limit(self) -> None:
        body = BytesIO(b"a" * (2 * LIMIT))
        assert call(body=body, HTTP_TRANSFER_ENCODING="chunked")[0] == 413
        assert body.tell() == LIMIT + 1

    def test_a_body_that_ends_early_cannot_be_read(self) -> None:
        """Otherwise a view would process a part of a form."""

        def read(environ: Any, _start_response: Any) -> list[bytes]:
            return [environ["wsgi.input"].read(100)]

        environ = {"CONTENT_LENGTH": "100", "wsgi.input": BytesIO(b"a part")}
        with pytest.raises(ConnectionResetError, match=r"^The client disconnected"):
            RequestBodyMiddleware(read)(environ, lambda *_: lambda _: None)

    def test_a_chunked_body_that_ends_early_is_malformed(self) -> None:
        status, error = call(body=ResetBody(), HTTP_TRANSFER_ENCODING="chunked")
        assert (status, error["code"]) == (400, "parse_error")

    def test_a_view_that_cannot_read_its_body_logs_no_error(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(LoginView, "throttle_classes", [])
        response = client.generic(
            "POST",
            "/api/v1/auth/login/",
            b"{}",
            "application/json",
            **cast("Any", {"wsgi.input": ResetBody(), "CONTENT_LENGTH": "100"}),
        )
        assert response.json()["code"] == "parse_error"


class TestCharacters:
    @pytest.mark.parametrize("path", ["/admin/%00/", "/admin/login/?next=%00"])
    def test_a_nul_in_the_address_is_malformed(self, client: Client, path: str) -> None:
        assert client.get(path).json()["code"] == "parse_error"

    def test_a_nul_in_a_cookie_is_malformed(self, client: Client) -> None:
        response = client.get("/admin/", headers={"cookie": r'sessionid="a\000b"'})
        assert response.json()["code"] == "parse_error"
