"""Delivery over a socket, with Django's SMTP backend."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from apps.communication.models import Email
from apps.communication.services import queue_email
from apps.communication.tasks import send_due_emails
from apps.communication.tests.conftest import Clock
from apps.communication.tests.smtp import SmtpServer, mailers, smtp_server

pytestmark = pytest.mark.usefixtures("greeting_text")


@pytest.fixture
def server(settings: Settings) -> Iterator[SmtpServer]:
    with smtp_server() as server:
        settings.MAILERS = mailers(server.port)
        yield server


def queue(*names: str) -> list[Email]:
    return [
        queue_email("greeting", to=f"{name}@example.com", context={}, language="en")
        for name in names
    ]


def states() -> dict[str, str]:
    return {email.to.partition("@")[0]: email.state for email in Email.objects.all()}


def test_a_connection_ends_with_quit(server: SmtpServer) -> None:
    queue("a", "b")
    send_due_emails.call()
    assert set(states().values()) == {"sent"}
    assert len(server.messages) == 2
    assert server.commands.count("quit") == server.connections


def test_an_email_is_sent_after_the_server_has_recovered(settings: Settings, clock: Clock) -> None:
    with smtp_server() as server:
        port = server.port
    settings.MAILERS = mailers(port)
    (email,) = queue("a")
    send_due_emails.call()
    email.refresh_from_db()
    assert email.state == "queued"
    assert "ConnectionRefusedError" in email.last_error
    clock.advance(minutes=4)
    with smtp_server(port) as server:
        send_due_emails.call()
        assert len(server.messages) == 1
    assert states() == {"a": "sent"}


def test_a_rejected_address_does_not_stop_the_others(server: SmtpServer) -> None:
    server.replies["gone@example.com"] = "550 5.1.1 no such user"
    server.replies["full@example.com"] = "452 4.2.2 mailbox full"
    queue("a", "gone", "full", "b")
    send_due_emails.call()
    assert states() == {"a": "sent", "gone": "failed", "full": "queued", "b": "sent"}
    assert "no such user" in Email.objects.get(state="failed").last_error


def test_a_policy_refusal_is_retried(server: SmtpServer) -> None:
    server.data_reply = "554 5.7.1 sender not verified"
    queue("a")
    send_due_emails.call()
    assert states() == {"a": "queued"}


def test_a_closed_connection_is_opened_again(server: SmtpServer) -> None:
    server.data_reply = "421 too many messages"
    queue("a", "b")
    send_due_emails.call()
    assert states() == {"a": "queued", "b": "queued"}
    assert server.connections == 2
