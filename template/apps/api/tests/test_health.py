import pytest
from django.db import connection
from django.db.utils import OperationalError
from rest_framework.test import APIClient


def test_health(api: APIClient) -> None:
    """Without a database: the test has none."""
    response = api.get("/api/v1/health/")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_ready(api: APIClient) -> None:
    response = api.get("/api/v1/health/ready/")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "checks": {"database": "ok"}}


@pytest.mark.django_db
def test_not_ready(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("secret detail")

    monkeypatch.setattr(connection, "cursor", fail)
    response = api.get("/api/v1/health/ready/")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "checks": {"database": "unavailable"}}
