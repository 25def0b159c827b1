"""Sentry gets errors without personal data and secrets, and nothing while SENTRY_DSN is not set."""

import json
import logging
from datetime import timedelta
from typing import Any, Never

import pytest
import sentry_sdk
from django.core.management import call_command
from django.http import HttpResponse
from django.tasks import task
from django.test import RequestFactory
from django.utils import timezone
from environs import ValidationError
from pytest_django import Settings
from rest_framework.test import APIClient
from structlog import get_logger

from api_core.env import sentry_dsn
from api_core.request_log import RequestLogMiddleware
from apps.api.tests.otlp import Exported
from apps.api.tests.production import in_production
from apps.api.tests.receiver import Receiver
from apps.user.models import User
from apps.user.tests.factories import make_token
from common.schedule.jobs import run_due_jobs

PASSWORD, EMAIL = "a password that is hard to guess", "bob@example.com"
SECRETS = [PASSWORD, EMAIL, "a-cookie", "a-query"]


def fail(*_args: Any, **_kwargs: Any) -> Never:
    local = PASSWORD.upper().lower()
    raise RuntimeError(f"{EMAIL} {local}") from ValueError(local)


@task
def failing_task(_argument: str) -> None:
    fail()


def assert_is_safe(report: dict[str, Any]) -> None:
    """The report has the exceptions of ``fail``, and none of its data."""
    cause, error = report["exception"]["values"][-2:]
    assert (cause["type"], error["type"]) == ("ValueError", "RuntimeError")
    frame = error["stacktrace"]["frames"][-1]
    assert frame["filename"] == "apps/api/tests/test_error_reports.py"
    assert (frame["function"], frame["in_app"]) == ("fail", True)
    text = json.dumps(report)
    assert not [secret for secret in SECRETS if secret in text]
    assert '"vars"' not in text


def test_a_failed_request_is_reported_without_its_data(
    api: APIClient, user: User, sentry: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token(user)
    monkeypatch.setattr(User, "save", fail)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    api.cookies["sessionid"] = "a-cookie"
    path = f"/api/v1/users/{user.pk}/?token=a-query"
    assert api.patch(path, {"first_name": PASSWORD}).status_code == 500
    (report,) = sentry.reports()
    assert report["logentry"] == {"message": "request_failed"}
    assert report["level"] == "error"
    assert report["user"] == {"id": user.pk}
    assert report["tags"].keys() == {"request_id"}
    assert "request" not in report
    assert_is_safe(report)
    assert token not in json.dumps(report)


def test_a_failed_task_is_reported(transactional_db: None, sentry: Receiver) -> None:
    failing_task.using(run_after=timezone.now()).enqueue(EMAIL)
    call_command("db_worker", batch=True, startup_delay=False)
    (report,) = sentry.reports()
    assert report["logger"] == "django.tasks"
    assert report["logentry"] == {"message": "Task id=%s path=%s state=%s"}
    assert_is_safe(report)


def test_a_failed_job_of_the_scheduler_is_reported(
    db: None, sentry: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCHEDULE = {"clearsessions": timedelta(days=1)}
    monkeypatch.setattr("common.schedule.jobs.call_command", fail)
    run_due_jobs()
    (report,) = sentry.reports()
    assert report["logentry"] == {"message": "job_failed"}
    assert_is_safe(report)


def test_own_reports_are_safe_too(sentry: Receiver) -> None:
    try:
        fail()
    except RuntimeError as error:
        sentry_sdk.capture_exception(error)
        # The same exception is reported once.
        get_logger("apps.notes").exception("note_failed")
    sentry_sdk.capture_message(f"Refused: {EMAIL}")
    first, second = sentry.reports()
    assert_is_safe(first)
    assert second["message"] == "Refused: [redacted]"


def test_arguments_of_a_message_are_not_reported(sentry: Receiver) -> None:
    logging.getLogger("library").error("Refused: %s", EMAIL)
    logging.getLogger("library").warning("Slow: %s", EMAIL)
    (report,) = sentry.reports()
    assert report["logentry"] == {"message": "Refused: %s"}
    assert "exception" not in report


def test_an_intended_503_is_not_reported(rf: RequestFactory, sentry: Receiver) -> None:
    RequestLogMiddleware(lambda _request: HttpResponse(status=503))(rf.get("/"))
    assert sentry.reports() == []


FAILS = f"""
import django
django.setup()
from django.test import Client
Client(HTTP_HOST="api.example.com").get("/api/v1/health/")
local = "{PASSWORD}"
raise ValueError(local)
"""


def test_a_process_that_dies_is_reported_with_its_release(
    sentry: Receiver, exported: Exported
) -> None:
    """It also exports its last traces and metrics."""
    process = in_production(
        FAILS,
        SENTRY_DSN=sentry.dsn,
        SENTRY_RELEASE="1.2.3",
        SENTRY_ENVIRONMENT="staging",
        OTEL_EXPORTER_OTLP_ENDPOINT=exported.endpoint,
    )
    (report,) = sentry.reports()
    assert (report["release"], report["environment"]) == ("1.2.3", "staging")
    assert (report["level"], report["logentry"]) == ("fatal", {"message": "process_failed"})
    assert PASSWORD not in json.dumps(report)
    assert "process_failed" in process.stderr
    assert exported.span("GET").attributes["http.response.status_code"] == 200
    assert "http.server.request.duration" in exported.metrics()


def test_the_client_is_not_imported_without_a_dsn(production: dict[str, Any]) -> None:
    assert "sentry_sdk" not in production["modules"]


@pytest.mark.parametrize("dsn", ["x", "https://sentry.example.com/1", "https://key@host/"])
def test_an_invalid_dsn_is_refused(dsn: str) -> None:
    with pytest.raises(ValidationError, match="DSN of a Sentry project"):
        sentry_dsn(dsn)


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    sentry_dsn("https://key@sentry.example.com/1")
    monkeypatch.setattr("api_core.env.find_spec", lambda _module: None)
    with pytest.raises(ValidationError, match="-r requirements-observability"):
        sentry_dsn("https://key@sentry.example.com/1")
    sentry_dsn("")
