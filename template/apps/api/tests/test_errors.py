"""Error responses."""

from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.core.exceptions import ValidationError as DjangoValidationError
from pytest_django import Settings
from rest_framework import exceptions
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from apps.user import services
from apps.user.models import User
from apps.user.tests.factories import make_token

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
def test_malformed_json_is_a_400(api: APIClient, body: bytes) -> None:
    assert post(api, body)[0] == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 100_000, "The JSON is nested too deeply."),
        (b'{"email": "\\ud800"}', "The JSON contains an unpaired surrogate."),
        (b'[{"\\udfff": 1}]', "The JSON contains an unpaired surrogate."),
    ],
    ids=["nested", "value", "name"],
)
def test_json_that_cannot_be_read_is_a_parse_error(
    api: APIClient, body: bytes, message: str
) -> None:
    headers = {"Accept-Language": "en"}
    response = api.generic("POST", LOGIN, body, "application/json", headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 400
    assert response.json() == {"detail": message, "code": "parse_error"}


@pytest.mark.parametrize("email", ["a\x00@b.example", 1, [], {}, None, True])
def test_values_of_other_types_are_refused_by_field(api: APIClient, email: object) -> None:
    response = api.post(LOGIN, {"email": email, "password": "x"})
    assert (response.status_code, list(response.json())) == (400, ["email"])


def test_a_format_other_than_json_is_unsupported(api: APIClient) -> None:
    assert post(api, b"email=a", "application/x-www-form-urlencoded") == (
        415,
        "unsupported_media_type",
    )


def test_a_body_that_is_too_large_is_a_413(api: APIClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert post(api, b'{"email": "%s"}' % (b"a" * 100)) == (413, "payload_too_large")


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("path", ["/api/v1/nothing/", "/api/v2/", "/api/nothing/at/all/"])
def test_an_unknown_path_of_the_api_is_not_found(
    api: APIClient, settings: Settings, path: str, debug: bool
) -> None:
    settings.DEBUG = debug
    response = api.get(path, headers={"Accept-Language": "en"})
    assert response.status_code == 404
    assert response.json() == {"detail": "There is no such endpoint.", "code": "not_found"}


@pytest.mark.parametrize(
    ("detail", "body"),
    [
        ("Too late.", {"detail": "Too late.", "code": "invalid"}),
        (["Too late.", "Too big."], {"detail": "Too late. Too big.", "code": "invalid"}),
        ([], {"detail": "Invalid input.", "code": "invalid"}),
        ({"detail": "Too late."}, {"detail": "Too late.", "code": "invalid"}),
        ({"day": "Too late."}, {"day": ["Too late."]}),
        ({"day": ["Too late."]}, {"day": ["Too late."]}),
        ({"trip": {"day": ["Too late."]}}, {"trip": {"day": ["Too late."]}}),
        ({"trips": [{}, {"day": ["Late."]}]}, {"trips": {"1": {"day": ["Late."]}}}),
        ([{}, {"day": ["Too late."]}], {"1": {"day": ["Too late."]}}),
        (DjangoValidationError("Too late.", "late"), {"detail": "Too late.", "code": "late"}),
        (DjangoValidationError({"day": "Too late."}), {"day": ["Too late."]}),
    ],
)
def test_every_shape_of_an_error_is_as_documented(
    api: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    detail: Any,
    body: dict[str, Any],
) -> None:
    def fail(**kwargs: str) -> None:
        django_error = isinstance(detail, DjangoValidationError)
        raise detail if django_error else exceptions.ValidationError(detail)

    monkeypatch.setattr("apps.user.services.login", fail)
    schema = api.get("/api/schema/?format=json").json()
    english = {"Accept-Language": "en"}
    response = api.post(LOGIN, {"email": "a@example.com", "password": "x"}, headers=english)
    assert (response.status_code, response.json()) == (400, body)
    jsonschema.validate(response.json(), {**schema, "$ref": "#/components/schemas/Error"})


def test_every_operation_documents_its_errors(api: APIClient) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    schema = api.get("/api/schema/?format=json").json()
    documented = [
        operation["responses"]["default"]
        for path in schema["paths"].values()
        for operation in path.values()
    ]
    assert documented == [{"description": "Error", "content": content}] * len(documented)


def test_a_path_without_a_slash_is_explained(api: APIClient) -> None:
    response = api.post(LOGIN.rstrip("/"), {}, headers={"Accept-Language": "en"})
    assert response.status_code == 404
    detail = response.json()["detail"]
    assert detail == "There is no such endpoint. Every path ends with a slash."


def test_an_unknown_path_outside_the_api_is_not_found(api: APIClient) -> None:
    response = api.get("/nothing/")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_wrong_method_is_not_allowed(api: APIClient) -> None:
    response = api.get(LOGIN)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


def test_an_unknown_host_is_a_bad_request(api: APIClient) -> None:
    english = {"Accept-Language": "en"}
    response = api.get("/api/v1/users/", HTTP_HOST="evil.example", headers=english)
    assert response.status_code == 400
    assert response.json() == {"detail": "The request is invalid.", "code": "bad_request"}


def test_an_unexpected_error_is_a_500_without_details(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**kwargs: str) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("apps.user.services.login", fail)
    english = {"Accept-Language": "en"}
    response = api.post(LOGIN, {"email": "a@example.com", "password": "x"}, headers=english)
    assert response.status_code == 500
    assert response.json() == {
        "detail": "Something went wrong on our side. The error has been logged.",
        "code": "server_error",
    }


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("pt-BR", "E-mail ou senha incorretos."),
        ("en", "Wrong e-mail address or password."),
        ("de, en;q=0.5", "Wrong e-mail address or password."),
    ],
)
def test_errors_are_in_the_language_of_the_client(
    api: APIClient, language: str, message: str
) -> None:
    body = {"email": "a@example.com", "password": "x"}
    response = api.post(LOGIN, body, headers={"Accept-Language": language})
    assert response.json()["detail"] == message


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("Bearer abc", "Token inválido ou expirado."),
        ("ended", "Sessão encerrada. Entre novamente."),
    ],
)
def test_a_refused_token_is_explained(
    api: APIClient, user: User, header: str, message: str
) -> None:
    if header == "ended":
        header = f"Bearer {make_token(user)}"
        services.end_sessions(user)
    response = api.get(
        "/api/v1/users/me/", headers={"Authorization": header, "Accept-Language": "pt-BR"}
    )
    assert (response.status_code, response.json()["detail"]) == (401, message)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_case_of_the_scheme_does_not_matter(api: APIClient, user: User, scheme: str) -> None:
    token = make_token(user)
    for header, status in {f"{scheme} {token}": 200, f"{scheme} {token} more": 401}.items():
        response = api.get("/api/v1/users/me/", headers={"Authorization": header})
        assert response.status_code == status
    assert response.json()["code"] == "authentication_failed"


def test_a_throttled_response_contains_the_time_to_wait(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "login-address", "1/hour")
    portuguese = {"Accept-Language": "pt-BR"}
    body = {"email": "a@example.com", "password": "x"}
    responses = [api.post(LOGIN, body, headers=portuguese) for _ in range(2)]
    assert responses[1].status_code == 429
    seconds = responses[1].headers["Retry-After"]
    assert responses[1].json() == {
        "detail": f"Muitas requisições. Tente novamente em {seconds} segundos.",
        "code": "throttled",
    }
    english = api.post(LOGIN, body, headers={"Accept-Language": "en"})
    seconds = english.headers["Retry-After"]
    assert english.json()["detail"] == f"Too many requests. Try again in {seconds} seconds."


def test_a_throttled_response_without_a_time_asks_for_one_second(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**kwargs: str) -> None:
        raise exceptions.Throttled

    monkeypatch.setattr("apps.user.services.login", fail)
    body = {"email": "a@example.com", "password": "x"}
    response = api.post(LOGIN, body, headers={"Accept-Language": "en"})
    assert response.json()["detail"] == "Too many requests. Try again in 1 second."


@pytest.mark.parametrize("phone", ["123", "+55 11 1", "phone"])
def test_an_invalid_phone_number_is_refused_with_an_example(
    user_api: APIClient, phone: str
) -> None:
    response = user_api.get("/api/v1/users/me/")
    path = f"/api/v1/users/{response.json()['user']['id']}/"
    response = user_api.patch(path, {"phone": phone}, headers={"Accept-Language": "pt-BR"})
    assert response.status_code == 400
    assert "+55 11 96123-4567" in response.json()["phone"][0]
