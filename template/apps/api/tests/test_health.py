from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.utils import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings
from rest_framework.test import APIClient

from common.drf.health import LivenessMiddleware, State


def test_liveness_needs_no_database(api: APIClient) -> None:
    response = api.get("/api/v1/health/")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_liveness_is_answered_before_the_other_middleware(rf: RequestFactory) -> None:
    def other(request: HttpRequest) -> HttpResponse:
        raise AssertionError

    response = LivenessMiddleware(other)(rf.get("/api/v1/health/"))
    assert (response.content, response["Content-Length"]) == (b'{"status":"ok"}', "15")


@pytest.mark.django_db
def test_readiness_lists_its_checks(api: APIClient) -> None:
    response = api.get("/api/v1/health/ready/")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response.json()["checks"]["database"] == "ok"


def test_readiness_is_503_while_the_server_is_stopping(
    api: APIClient, settings: Settings, tmp_path: Path
) -> None:
    settings.READINESS_CHECKS = {}
    settings.DRAIN_FILE = str(tmp_path / "stopping")
    assert api.get("/api/v1/health/ready/").status_code == 200
    Path(settings.DRAIN_FILE).touch()
    response = api.get("/api/v1/health/ready/")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "checks": {"stopping": "unavailable"}}


@pytest.mark.django_db
def test_readiness_is_503_without_a_database(
    api: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = OperationalError("secret detail")

    def fail() -> None:
        raise error

    monkeypatch.setattr(connection, "cursor", fail)
    response = api.get("/api/v1/health/ready/")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"]["database"] == "unavailable"
    logged: Any = [each.msg for each in caplog.records if each.name == "common.drf.health"]
    assert [(each["event"], each["error"]) for each in logged] == [("database_unavailable", error)]


def check_nothing_else() -> State:
    raise AssertionError("A check ran after one that had failed.")


def test_readiness_stops_at_the_first_check_that_fails(
    api: APIClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OperationalError

    monkeypatch.setattr(connection, "cursor", fail)
    settings.READINESS_CHECKS = {
        "database": "common.drf.health.check_database",
        "other": f"{__name__}.check_nothing_else",
    }
    response = api.get("/api/v1/health/ready/")
    assert response.json() == {"status": "unavailable", "checks": {"database": "unavailable"}}


def check_queue() -> State:
    return "warning"


def test_a_warning_keeps_the_service_in_rotation(api: APIClient, settings: Settings) -> None:
    settings.READINESS_CHECKS = {"queue": f"{__name__}.check_queue"}
    response = api.get("/api/v1/health/ready/")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "checks": {"queue": "warning"}}
