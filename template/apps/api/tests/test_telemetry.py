"""Traces and metrics of requests, queries, e-mails and the scheduler."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone
from environs import ValidationError
from rest_framework.test import APIClient

from api_core.env import otlp_endpoint
from apps.api.tests.otlp import Exported
from apps.api.tests.test_error_reports import EMAIL, PASSWORD, fail
from apps.communication.models import Email
from apps.communication.services import measure
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
        telemetry.span("request", "SERVER"),
        telemetry.span("task", "CONSUMER"),
        telemetry.messaging_call("smtp", "send"),
    ):
        fail()
    task, call = exported.span("task"), exported.span("smtp send")
    assert task.is_error
    assert task.parent_id == exported.span("request").id
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
    call = {"messaging.system": "smtp", "messaging.operation.name": "send"}
    assert exported.metrics()["messaging.client.operation.duration"] == [(call, 1)]
    assert EMAIL not in repr(exported._server.received)


def test_there_is_no_trace_outside_a_request_or_without_telemetry(exported: Exported) -> None:
    assert telemetry.traceparent() == ""
    telemetry.stop()
    assert telemetry.traceparent() == ""


def test_other_wrappers_of_queries_are_called(db: None, exported: Exported) -> None:
    calls = []

    def other(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        calls.append((sql, params, *rest))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(other), connection.cursor() as cursor:
        cursor.execute("SELECT 1", [])
    context = {"connection": connection, "cursor": cursor}
    assert calls == [("SELECT 1", [], False, context)]


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


def test_an_email_that_waits_for_its_next_attempt_is_not_overdue(db: None) -> None:
    next_attempt_at = timezone.now() + timedelta(hours=1)
    Email.objects.create(kind="confirm_email", to=EMAIL, next_attempt_at=next_attempt_at)
    values = measure()
    assert (values["email.waiting"], values["email.overdue_seconds"]) == (1, 0)
    assert 0 <= values["email.oldest_waiting_seconds"] < 600


def test_a_process_without_an_endpoint_imports_nothing(production: dict[str, Any]) -> None:
    assert "opentelemetry.sdk" not in production["modules"]
    assert production["MIDDLEWARE"][0] == "api_core.request_log.RequestLogMiddleware"


def test_an_invalid_endpoint_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    otlp_endpoint("http://localhost:4318")
    with pytest.raises(ValidationError, match="URL of an OTLP/HTTP receiver"):
        otlp_endpoint("localhost:4317")
    monkeypatch.setattr("api_core.env.find_spec", lambda _module: None)
    with pytest.raises(ValidationError, match="-r requirements-observability"):
        otlp_endpoint("http://localhost:4318")
    otlp_endpoint("")
