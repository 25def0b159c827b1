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

    def test_utf8_is_accepted(self) -> None:
        assert call(CONTENT_TYPE="application/json; charset=UTF-8")[0] == 404


class TestBodies:
    def test_a_body_that_is_too_large_is_not_read(self) -> None:
        status, error = call(body=UnreadableBody(), CONTENT_LENGTH=str(LIMIT + 1))
        assert (status, error["code"]) == (413, "payload_too_large")

    def test_a_chunked_body_is_read_up_to_the_limit(self) -> None:
        body = BytesIO(b"a" * (2 * LIMIT))
        assert call(body=body, HTTP_TRANSFER_ENCODING="chunked")[0] == 413
        assert body.tell() == LIMIT + 1

    def test_a_body_that_ends_early_cannot_be_read(self) -> None:
        """Otherwise a view would process a part of a form."""

        def read(environ: Any, _start_response: Any) -> list[bytes]:
            return [environ["wsgi.input"].read(100)]

        environ = {"CONTENT_LENGTH": "100", "wsgi.input": BytesIO(b"a part")}
        with pytest.raises(ConnectionResetError):
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
