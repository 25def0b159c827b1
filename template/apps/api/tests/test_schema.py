"""The OpenAPI schema, and calls of the API with the values that it allows (schemathesis)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from rest_framework.test import APIClient
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api_core.wsgi import application
from apps.user.models import User
from apps.user.tests.factories import make_token

api_schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)


@pytest.fixture
def open_connection(db: None) -> Iterator[None]:
    """Keep the connection of the test's transaction open, as Django's client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@api_schema.parametrize()
@settings(
    # About 500 calls with boundary values, which are the same in every run.
    phases=[Phase.explicit],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_responses_match_the_schema(
    case: Case[Any], user: User, open_connection: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.user.api.auth.AuthView.throttle_classes", [])
    case.call_and_validate(
        headers={"Authorization": f"Bearer {make_token(user)}"},
        excluded_checks=[
            # Valid values can still be refused: an unknown token, an address in use, a weak
            # password.
            positive_data_acceptance,
            # DRF accepts numbers as text.
            negative_data_rejection,
        ],
    )


def test_the_schema_is_valid(tmp_path: Path) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


def test_swagger_ui_loads_only_local_files(api: APIClient) -> None:
    response = api.get("/api/docs/")
    assert response.status_code == 200
    assert "//" not in response.content.decode().replace("http://testserver/", "")


def test_swagger_ui_keeps_the_token_when_the_page_is_reloaded(api: APIClient) -> None:
    script = api.get("/api/docs/?script=").content.decode()
    assert '"persistAuthorization": true' in script


def test_operations_of_accounts_and_health_have_summaries(api: APIClient) -> None:
    paths = api.get("/api/schema/?format=json").json()["paths"]
    prefixes = ("/api/v1/auth/", "/api/v1/health/", "/api/v1/users/")
    without = [
        f"{method} {path}"
        for path, operations in paths.items()
        for method, operation in operations.items()
        if path.startswith(prefixes) and not operation.get("summary")
    ]
    assert without == []


def example(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the example body that Swagger UI generates from the schema."""
    defaults = {"email": "user@example.com", "date": "2026-01-31"}
    body = {}
    for field, described in schema["components"]["schemas"][name]["properties"].items():
        options = [described, *described.get("oneOf", []), *described.get("allOf", [])]
        reference = next((each["$ref"] for each in options if "$ref" in each), "")
        choices = schema["components"]["schemas"].get(reference.rpartition("/")[2], {})
        body[field] = (
            described.get("example")
            or next(iter(choices.get("enum", [])), None)
            or defaults.get(described.get("format", ""), "string")
        )
    return body


def test_the_examples_of_the_schema_can_register_and_log_in(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    monkeypatch.setattr("apps.user.services.settings.REQUIRE_CONFIRMED_EMAIL", False)
    schema = api.get("/api/schema/?format=json").json()
    register = api.post("/api/v1/auth/register/", example(schema, "RegisterRequest"))
    assert (register.status_code, register.json()["user"]["phone"]) == (201, "+5511961234567")
    login = api.post("/api/v1/auth/login/", example(schema, "LoginRequest"))
    assert login.status_code == 200
