"""Traces and metrics of requests, queries, e-mails and the scheduler."""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone
from rest_framework.test import APIClient

from apps.api.tests.otlp import Exported
from apps.api.tests.test_error_reports import EMAIL, PASSWORD, fail
from apps.api.tests.test_production import in_production
from apps.communication.models import Email
from apps.user.models import User
from common import telemetry

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

USER = {
    "email": EMAIL,
    "first_name": "Bob",
    "last_name": "B",
    "password": PASSWORD,
    "phone": "+5511961234567",
    "gender": "female",
    "date_of_birth": "1990-01-01",
}


def test_a_request_is_traced_by_its_route(
    user_api: APIClient, user: User, exported: Exported
) -> None:
    path = f"/api/v1/users/{user.pk}/?token=a-query"
    assert user_api.get(path, headers={"traceparent": TRACEPARENT}).status_code == 200
    span = exported.span("GET api/v1/users/<int:pk>/")
    assert (span.trace_id, span.parent_id) == tuple(TRACEPARENT.split("-")[1:3])
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "api/v1/users/<int:pk>/",
        "http.response.status_code": 200,
    }
    queries = [each for each in exported.spans() if each.parent_id == span.id]
    assert {each.attributes["db.operation.name"] for each in queries} == {"SELECT"}
    points = exported.metrics()["http.server.request.duration"]
    assert points == [(span.attributes, 1)]
    assert "db.client.operation.duration" in exported.metrics()


def test_a_failed_request_is_an_error_without_data(
    user_api: APIClient, user: User, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "save", fail)
    user_api.patch(f"/api/v1/users/{user.pk}/", {"first_name": PASSWORD})
    span = exported.span("PATCH api/v1/users/<int:pk>/")
    assert span.is_error
    assert span.attributes["http.response.status_code"] == 500
    exported_bytes = repr(exported._server.received)
    assert not [secret for secret in (EMAIL, PASSWORD, user.email) if secret in exported_bytes]


def test_an_exception_is_exported_as_its_type(exported: Exported) -> None:
    with (
        pytest.raises(RuntimeError),
        telemetry.span("task", "CONSUMER"),
        telemetry.messaging_call("smtp", "send"),
    ):
        fail()
    task, call = exported.span("task"), exported.span("smtp send")
    assert task.is_error
    assert task.attributes == {"error.type": "RuntimeError"}
    assert call.attributes["error.type"] == "RuntimeError"
    ((attributes, _count),) = exported.metrics()["messaging.client.operation.duration"]
    assert attributes["error.type"] == "RuntimeError"
    assert EMAIL not in repr(exported._server.received)


def test_unknown_methods_and_paths_are_one_time_series(api: APIClient, exported: Exported) -> None:
    for number in range(3):
        api.generic(f"METHOD{number}", f"/nowhere/{number}/")
    (point,) = exported.metrics()["http.server.request.duration"]
    assert point[0] == {
        "http.request.method": "_OTHER",
        "http.route": "",
        "http.response.status_code": 404,
    }
    assert point[1] == 3


def test_a_trace_continues_in_the_worker(
    api: APIClient,
    delivered: Callable[[], Sequence[EmailMessage]],
    exported: Exported,
) -> None:
    assert api.post("/api/v1/auth/register/", USER).status_code == 201
    request = exported.span("POST api/v1/auth/register/")
    assert len(delivered()) == 1
    delivery, smtp = exported.span("email.deliver"), exported.span("smtp send")
    assert (delivery.trace_id, delivery.parent_id) == (request.trace_id, request.id)
    assert (smtp.trace_id, smtp.parent_id) == (request.trace_id, delivery.id)
    assert exported.metrics()["email.attempts"] == [({"result": "sent"}, 1)]
    assert "messaging.client.operation.duration" in exported.metrics()
    assert EMAIL not in repr(exported._server.received)


def test_log_lines_contain_the_trace(
    api: APIClient, exported: Exported, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    api.get("/api/v1/nowhere/")
    (line,) = [
        record.msg
        for record in caplog.records
        if isinstance(record.msg, dict) and record.msg["event"] == "request_finished"
    ]
    assert line["trace_id"] == exported.span("GET ^api/").trace_id


def test_the_scheduler_measures_waiting_emails(db: None, exported: Exported) -> None:
    now = timezone.now()
    for next_attempt_at in (now - timedelta(minutes=5), now + timedelta(hours=1)):
        Email.objects.create(
            kind="confirm_email",
            to=EMAIL,
            created_at=now - timedelta(hours=2),
            next_attempt_at=next_attempt_at,
        )
    telemetry.measure()
    values = {name: points[0][1] for name, points in exported.metrics().items()}
    assert values["email.waiting"] == 2
    assert 7200 <= values["email.oldest_waiting_seconds"] < 9000
    assert 300 <= values["email.overdue_seconds"] < 2100


IMPORTED = """
import json, sys, django
django.setup()
from django.conf import settings
from django.test import Client
Client(HTTP_HOST="api.example.com").get("/api/v1/health/")
print(json.dumps({
    "imported": [name for name in ("opentelemetry.sdk", "sentry_sdk") if name in sys.modules],
    "middleware": settings.MIDDLEWARE[0],
}))
"""


def started(**variables: str) -> dict[str, Any]:
    """Return what a process of production has imported."""
    ran = in_production(IMPORTED, **variables)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_a_process_without_an_endpoint_imports_nothing() -> None:
    assert started() == {
        "imported": [],
        "middleware": "api_core.request_log.RequestLogMiddleware",
    }


def test_a_process_with_an_endpoint_exports_when_it_exits(exported: Exported) -> None:
    endpoint = f"http://{exported._server.address}"
    assert started(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)["imported"] == ["opentelemetry.sdk"]
    assert exported.span("GET").attributes["http.response.status_code"] == 200
    assert "http.server.request.duration" in exported.metrics()


def test_a_missing_package_is_named_with_its_command() -> None:
    code = """
import sys; sys.modules["opentelemetry"] = None
from api_core.env import exit_on_bad_variable
with exit_on_bad_variable():
    import django; django.setup()
"""
    process = in_production(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://localhost:4318")
    assert process.returncode == 1
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: Needs more packages" in process.stderr
    assert "pip install -r requirements-observability.txt" in process.stderr


def test_an_invalid_endpoint_is_refused() -> None:
    process = in_production(
        "import django; django.setup()", OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4317"
    )
    assert "Must be the URL of an OTLP/HTTP receiver" in process.stderr
