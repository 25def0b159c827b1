"""The OpenAPI schema tells the truth: schemathesis calls the API with all that it allows."""

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
from apps.user.tokens import issue_jwt

api_schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)


@pytest.fixture
def open_connection(db: None) -> Iterator[None]:
    """Let no request close the connection of the test's transaction, as Django's client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@api_schema.parametrize()
@settings(
    # Some 500 calls at the edges of the schema, the same in every run, and no random ones.
    phases=[Phase.explicit],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_api_answers_as_described(
    case: Case[Any], user: User, open_connection: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.user.api.auth.AuthView.throttle_classes", [])
    case.call_and_validate(
        headers={"Authorization": f"Bearer {issue_jwt(user).token}"},
        excluded_checks=[
            # What is well formed can still be refused: a token that nobody issued, an
            # address that is taken, a weak password.
            positive_data_acceptance,
            # DRF reads a number as the text that it looks like.
            negative_data_rejection,
        ],
    )


def test_the_schema_is_valid(tmp_path: Path) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))


@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_its_readers_need_nothing_from_elsewhere(api: APIClient, page: str) -> None:
    response = api.get(f"/api/{page}/")
    assert response.status_code == 200
    assert "//" not in response.content.decode().replace("http://testserver/", "")
