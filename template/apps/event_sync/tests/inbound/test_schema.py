"""The OpenAPI schema of confirmations, checked with schemathesis."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings
from rest_framework.test import APIClient
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api_core.wsgi import application
from apps.api.tests.test_schema import open_connection

__all__ = ["open_connection"]

api_schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", application)


@api_schema.include(path="/api/v1/event-sync/").parametrize()
@hypothesis_settings(
    phases=[Phase.explicit],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.usefixtures("open_connection")
def test_responses_match_the_openapi_schema(case: Case[Any], settings: Settings) -> None:
    settings.APP_KEY = "key"
    response = case.call_and_validate(
        headers={"Authorization": "Token key"},
        # A valid confirmation can be of an unknown event.
        excluded_checks=[positive_data_acceptance, negative_data_rejection],
    )
    assert response.status_code < 500


def test_the_openapi_schema_describes_the_key(api: APIClient) -> None:
    schema = api.get("/api/schema/?format=json").json()
    security = schema["paths"]["/api/v1/event-sync/"]["post"]["security"]
    assert security == [{"appKey": []}]
    assert schema["components"]["securitySchemes"]["appKey"] == {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Token <APP_KEY>`, the key that the services share.",
    }
