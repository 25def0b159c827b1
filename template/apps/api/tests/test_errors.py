"""Every error is JSON, in the client's language, and says what to do."""

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

LOGIN = "/api/v1/auth/login/"

pytestmark = pytest.mark.django_db


def post(api: APIClient, body: bytes, content_type: str = "application/json") -> tuple[int, object]:
    response = api.generic("POST", LOGIN, body, content_type)  # type: ignore[arg-type]
    assert response.headers["Content-Type"] == "application/json"
    return response.status_code, response.json().get("code")


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"\xff\xfe", b'{"email": NaN}', b"[" * 100_000, b'"\\ud800"', b"[1]", b"null"],
)
def test_malformed_json(api: APIClient, body: bytes) -> None:
    assert post(api, body)[0] == 400


@pytest.mark.parametrize("body", [b'{"email": "\\ud800"}', b'[{"\\udfff": 1}]'])
def test_half_a_character(api: APIClient, body: bytes) -> None:
    assert post(api, body) == (400, "parse_error")


@pytest.mark.parametrize("email", ["a\x00@b.example", 1, [], {}, None, True])
def test_odd_values(api: APIClient, email: object) -> None:
    response = api.post(LOGIN, {"email": email, "password": "x"})
    assert (response.status_code, list(response.json())) == (400, ["email"])


def test_another_format(api: APIClient) -> None:
    assert post(api, b"email=a", "application/x-www-form-urlencoded") == (
        415,
        "unsupported_media_type",
    )


def test_too_large(api: APIClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert post(api, b'{"email": "%s"}' % (b"a" * 100)) == (413, "payload_too_large")


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("path", ["/api/v1/nothing/", "/api/v2/", "/api/nothing/at/all/"])
def test_no_such_endpoint(api: APIClient, settings: Settings, path: str, debug: bool) -> None:
    settings.DEBUG = debug
    response = api.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_forgotten_slash(api: APIClient) -> None:
    response = api.post(LOGIN.rstrip("/"), {}, headers={"Accept-Language": "en"})
    assert response.status_code == 404
    assert "slash" in response.json()["detail"]


def test_outside_the_api(api: APIClient) -> None:
    response = api.get("/nothing/")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_wrong_method(api: APIClient) -> None:
    response = api.get(LOGIN)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


def test_a_host_that_is_not_ours(api: APIClient) -> None:
    response = api.get("/api/v1/health/", HTTP_HOST="evil.example")
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_a_fault_of_ours(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**kwargs: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("apps.user.services.login", fail)
    response = api.post(LOGIN, {"email": "a@example.com", "password": "x"})
    assert (response.status_code, response.json()["code"]) == (500, "server_error")
    assert "secret" not in response.content.decode()


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("pt-BR", "E-mail ou senha incorretos."),
        ("en", "Wrong e-mail address or password."),
        ("de, en;q=0.5", "Wrong e-mail address or password."),
    ],
)
def test_the_language_is_the_clients(api: APIClient, language: str, message: str) -> None:
    body = {"email": "a@example.com", "password": "x"}
    response = api.post(LOGIN, body, headers={"Accept-Language": language})
    assert response.json()["detail"] == message
