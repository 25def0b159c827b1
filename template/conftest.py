"""Fixtures for all tests."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.core.mail import EmailMessage
from pytest_django import Settings
from rest_framework.test import APIClient

from apps.api.tests.otlp import Exported, exporting
from apps.api.tests.production import started_in_production
from apps.api.tests.receiver import Receiver, reporting
from apps.communication.tasks import send_due_emails
from apps.user.models import User
from apps.user.tests.factories import make_token, make_user


@pytest.fixture
def api() -> APIClient:
    """A client without credentials."""
    return APIClient(raise_request_exception=False)


@pytest.fixture
def user(db: None) -> User:
    """A user with a confirmed e-mail address."""
    return make_user()


@pytest.fixture
def user_api(user: User) -> APIClient:
    """A client that sends the JWT of ``user``."""
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
    return client


@pytest.fixture
def delivered(db: None, mailoutbox: Sequence[EmailMessage]) -> Callable[[], Sequence[EmailMessage]]:
    """Return a function that delivers due e-mails and returns all that this test has sent."""

    def deliver() -> Sequence[EmailMessage]:
        send_due_emails.call()
        return mailoutbox

    return deliver


@pytest.fixture(scope="session")
def production() -> dict[str, Any]:
    """Settings, responses and modules of a process that only has the required variables."""
    return started_in_production()


@pytest.fixture
def sentry() -> Iterator[Receiver]:
    """A server that receives the error reports of this test."""
    with reporting() as server:
        yield server


@pytest.fixture
def exported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    """The traces and metrics of this test."""
    middleware = "common.telemetry.middleware.TraceMiddleware"
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE]
    with exporting(monkeypatch) as exported:
        yield exported
