import json
import smtplib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from email.utils import parseaddr
from functools import partial
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.tasks import TaskResultStatus, task_backends
from django.utils import timezone, translation
from django_tasks_db.models import DBTaskResult
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from api_core.mailers import named_sender
from apps.communication import kinds, tasks
from apps.communication.emails import email_kind
from apps.communication.kinds import UnknownEmailKindError
from apps.communication.models import Email, EmailTemplate
from apps.communication.services import queue_email, requeue_emails
from apps.communication.tasks import LEASE, MAX_ATTEMPTS, deliver_email, send_due_emails
from apps.communication.tests.conftest import Clock

pytestmark = pytest.mark.usefixtures("greeting_text")

type Worker = Callable[[], object]

State = Email.State
DOWN = {"default": {"BACKEND": "apps.communication.tests.test_delivery.DownBackend"}}


class DownBackend(EmailBackend):
    """A mail server that does not answer."""

    opened = 0

    def open(self) -> bool:
        DownBackend.opened += 1
        raise TimeoutError("timed out")


def queue(number: int = 0, **fields: Any) -> Email:
    email = queue_email(
        "greeting", to=f"{number}@example.com", context={"number": number}, language="en"
    )
    Email.objects.filter(pk=email.pk).update(**fields)
    return email


def state_of(email: Email) -> str:
    return Email.objects.values_list("state", flat=True).get(pk=email.pk)


def addresses(outbox: Sequence[EmailMessage]) -> list[str]:
    return [message.to[0] for message in outbox]


@pytest.fixture
def worker(transactional_db: None, settings: Settings) -> Worker:
    """Store tasks as in production. The returned function runs those that are due."""
    settings.TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
    return partial(call_command, "db_worker", batch=True, startup_delay=False)


# Queueing


def test_an_email_is_sent_after_the_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    mailoutbox: Sequence[EmailMessage],
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        email = queue()
        assert not mailoutbox
    email.refresh_from_db()
    assert email.state == State.SENT
    assert email.subject == "Hello Ana"
    assert (email.attempts, email.next_attempt_at, email.last_error) == (1, None, "")
    assert email.sent_at is not None
    (message,) = mailoutbox
    assert message.to == ["0@example.com"]
    assert message.subject == "Hello Ana"
    assert "Look: <https://e.com/x>" in message.body
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in message.message().walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


def test_an_email_and_its_tasks_are_stored_with_the_transaction(worker: Worker) -> None:
    with transaction.atomic():
        queue()
        assert DBTaskResult.objects.count() == 2
        transaction.set_rollback(True)
    assert not Email.objects.exists()
    assert not DBTaskResult.objects.exists()
    queue()
    worker()
    assert Email.objects.get().state == State.SENT


def test_the_log_contains_neither_text_nor_link(mailoutbox: Sequence[EmailMessage]) -> None:
    email = queue()
    send_due_emails.call()
    assert "https://e.com/x" in mailoutbox[0].body
    row = Email.objects.filter(pk=email.pk).values().get()
    assert "e.com/x" not in json.dumps(row, default=str)


@pytest.mark.parametrize(
    "context", [{"number": object()}, {"number": float("nan")}, {"nummer": 1}, {"number": {1, 2}}]
)
def test_an_invalid_context_is_rejected_when_it_is_queued(context: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        queue_email("greeting", to="a@example.com", context=context)
    assert not Email.objects.exists()


def test_an_unknown_kind_is_rejected_when_it_is_queued() -> None:
    with pytest.raises(UnknownEmailKindError):
        queue_email("nonsense", to="a@example.com", context={})


def test_a_declared_kind_queues_its_arguments(greeting: dict[str, Any]) -> None:
    @email_kind("note", label="Note", placeholders={})
    def note(number: int) -> dict[str, str]:
        return {}

    assert note.label == "Note"
    note.queue(to="a@example.com", language="en", number=3)
    (row,) = Email.objects.values_list("kind", "to", "context", "language", "state")
    assert row == ("note", "a@example.com", {"number": 3}, "en", State.QUEUED)


@pytest.mark.parametrize("language", ["pt-br", "en"])
def test_the_language_defaults_to_the_active_one(language: str) -> None:
    with translation.override(language):
        assert queue_email("greeting", to="a@example.com", context={}).language == language


# Sending


@pytest.mark.parametrize(
    ("sender", "header"),
    [
        ("a@example.com", '"Cats, Inc." <a@example.com>'),
        ("<a@example.com>", '"Cats, Inc." <a@example.com>'),
        ("Ana <a@example.com>", "Ana <a@example.com>"),
        (None, ""),
    ],
)
def test_the_sender_has_a_display_name(sender: str | None, header: str) -> None:
    assert named_sender(sender, "Cats, Inc.") == header


def test_an_email_is_sent_in_the_name_of_the_service(
    settings: Settings, mailoutbox: Sequence[EmailMessage]
) -> None:
    queue()
    send_due_emails.call()
    assert parseaddr(mailoutbox[0].message()["From"])[0] == settings.SERVICE_NAME


def test_an_email_that_is_not_needed_any_more_is_skipped(
    greeting: dict[str, Any], mailoutbox: Sequence[EmailMessage]
) -> None:
    greeting["0"] = None
    email = queue()
    assert send_due_emails.call() == {State.SKIPPED: 1}
    email.refresh_from_db()
    assert (email.state, email.next_attempt_at) == (State.SKIPPED, None)
    assert not mailoutbox


def test_a_failing_email_does_not_stop_the_others(
    greeting: dict[str, Any], mailoutbox: Sequence[EmailMessage]
) -> None:
    greeting["1"] = lambda: 1 / 0
    emails = [queue(number) for number in range(3)]
    assert send_due_emails.call() == {State.SENT: 2, State.QUEUED: 1}
    assert addresses(mailoutbox) == ["0@example.com", "2@example.com"]
    emails[1].refresh_from_db()
    assert emails[1].last_error == "ZeroDivisionError: division by zero"


def test_a_header_cannot_be_injected(
    greeting: dict[str, Any], mailoutbox: Sequence[EmailMessage]
) -> None:
    greeting["0"] = {"name": "Ana\r\nBcc: everyone@example.com"}
    queue()
    send_due_emails.call()
    message = mailoutbox[0].message()
    assert message["Bcc"] is None
    assert message["Subject"] == "Hello Ana Bcc: everyone@example.com"


def test_an_email_is_rendered_in_its_own_language(
    greeting: dict[str, Any], mailoutbox: Sequence[EmailMessage]
) -> None:
    greeting["0"] = lambda: {"name": translation.get_language()}
    EmailTemplate.objects.create(
        kind="greeting",
        language="pt-br",
        subject="Olá {{ name }}",
        html='<a href="{{ page_url }}">Ver</a>',
    )
    with translation.override("en"):
        queue_email("greeting", to="a@example.com", context={}, language="pt-br")
        send_due_emails.call()
        assert translation.get_language() == "en"
    assert mailoutbox[0].subject == "Olá pt-br"


def test_the_command_prints_the_number_of_emails(capsys: pytest.CaptureFixture[str]) -> None:
    queue()
    call_command("send_due_emails")
    call_command("send_due_emails")
    assert capsys.readouterr().out == "1 sent\nnothing due\n"


# Failures and retries


def test_no_email_is_lost_in_an_outage_of_two_days(
    clock: Clock, settings: Settings, mailoutbox: Sequence[EmailMessage]
) -> None:
    working, settings.MAILERS = settings.MAILERS, DOWN
    email = queue()
    start = clock.now
    while clock.now - start < timedelta(days=2):
        send_due_emails.call()
        email.refresh_from_db()
        assert email.state == State.QUEUED
        assert email.last_error == "TimeoutError: timed out"
        assert email.next_attempt_at is not None
        clock.now = email.next_attempt_at
    assert 10 <= email.attempts < MAX_ATTEMPTS
    settings.MAILERS = working
    assert send_due_emails.call() == {State.SENT: 1}
    email.refresh_from_db()
    assert email.last_error == ""
    assert len(mailoutbox) == 1


def test_an_email_fails_after_the_last_attempt(clock: Clock, settings: Settings) -> None:
    settings.MAILERS = DOWN
    email = queue()
    waits = []
    for _attempt in range(MAX_ATTEMPTS):
        before = clock.now
        send_due_emails.call()
        email.refresh_from_db()
        if email.next_attempt_at:
            clock.now = email.next_attempt_at
            waits.append(clock.now - before)
    assert (email.state, email.next_attempt_at) == (State.FAILED, None)
    assert email.last_error == "TimeoutError: timed out"
    assert timedelta(minutes=2) <= waits[0] <= timedelta(minutes=4)
    assert timedelta(hours=3) <= waits[-1] <= timedelta(hours=6)
    assert len(waits) == MAX_ATTEMPTS - 1
    assert send_due_emails.call() == {}


def test_a_failed_attempt_is_logged(
    settings: Settings, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MAILERS = DOWN
    email = queue()
    send_due_emails.call()
    (line,) = [r.msg for r in caplog.records if isinstance(r.msg, dict)]
    assert isinstance(line.pop("error"), TimeoutError)
    fields = {name: line[name] for name in ("event", "email_id", "kind", "attempt")}
    assert fields == {
        "event": "email_not_sent",
        "email_id": email.pk,
        "kind": "greeting",
        "attempt": 1,
    }
    assert email.to not in str(line)


def test_a_long_error_is_cut(greeting: dict[str, Any]) -> None:
    def fail() -> None:
        raise LookupError("x" * 2000)

    greeting["0"] = fail
    email = queue()
    send_due_emails.call()
    email.refresh_from_db()
    assert len(email.last_error) == 1000


def test_only_waiting_emails_are_due(clock: Clock) -> None:
    due = [queue(), queue(state=State.SENDING)]
    queue(state=State.SENT)
    queue(next_attempt_at=clock.now + timedelta(seconds=1))
    assert set(Email.objects.due(clock.now)) == set(due)


def test_retries_are_spread_over_time(clock: Clock, settings: Settings) -> None:
    settings.MAILERS = DOWN
    for number in range(10):
        queue(number)
    send_due_emails.call()
    assert len(set(Email.objects.values_list("next_attempt_at", flat=True))) == 10


def test_a_worker_retries_without_cron(clock: Clock, settings: Settings, worker: Worker) -> None:
    working, settings.MAILERS = settings.MAILERS, DOWN
    email = queue()
    for attempts in range(1, 4):
        worker()
        email.refresh_from_db()
        assert (email.state, email.attempts) == (State.QUEUED, attempts)
        assert email.next_attempt_at is not None
        clock.now = max(email.next_attempt_at, clock.now + LEASE)
    settings.MAILERS = working
    worker()
    email.refresh_from_db()
    assert (email.state, email.attempts) == (State.SENT, 4)


def test_a_retry_lets_new_tasks_pass(settings: Settings) -> None:
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    email = queue()
    now, later = (result.task for result in task_backends["default"].results)  # type: ignore[attr-defined]
    assert now.priority > later.priority
    assert (now.run_after, later.module_path) == (None, "apps.communication.tasks.deliver_email")
    assert later.run_after - email.created_at >= LEASE


# Several workers


def test_an_email_that_is_being_sent_is_not_sent_by_another_worker(
    monkeypatch: pytest.MonkeyPatch, mailoutbox: Sequence[EmailMessage]
) -> None:
    for number in range(3):
        queue(number)
    send_messages = EmailBackend.send_messages

    def slow_send(backend: EmailBackend, messages: Sequence[EmailMessage]) -> int:
        monkeypatch.setattr(EmailBackend, "send_messages", send_messages)
        assert send_due_emails.call() == {State.SENT: 2}
        return send_messages(backend, messages)

    monkeypatch.setattr(EmailBackend, "send_messages", slow_send)
    assert send_due_emails.call() == {State.SENT: 1}
    assert addresses(mailoutbox) == ["1@example.com", "2@example.com", "0@example.com"]


def test_an_email_whose_worker_is_killed_while_sending_is_sent_later(
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    worker: Worker,
    mailoutbox: Sequence[EmailMessage],
) -> None:
    def kill(*args: object) -> int:
        raise SystemExit

    email = queue()
    with monkeypatch.context() as patch:
        patch.setattr(EmailBackend, "send_messages", kill)
        worker()
    email.refresh_from_db()
    assert email.state == State.SENDING
    clock.now += LEASE - timedelta(seconds=1)
    worker()
    assert not mailoutbox
    clock.advance(seconds=1)
    worker()
    email.refresh_from_db()
    assert (email.state, email.attempts) == (State.SENT, 2)
    assert len(mailoutbox) == 1


def test_an_email_whose_worker_is_killed_before_it_starts_is_sent_later(
    clock: Clock, worker: Worker, mailoutbox: Sequence[EmailMessage]
) -> None:
    queue()
    DBTaskResult.objects.ready().update(status=TaskResultStatus.RUNNING)
    worker()
    assert not mailoutbox
    clock.now += LEASE
    worker()
    assert len(mailoutbox) == 1


def test_an_email_that_stops_its_worker_each_time_fails(clock: Clock) -> None:
    email = queue(attempts=MAX_ATTEMPTS, state=State.SENDING, next_attempt_at=clock.now)
    assert deliver_email.call(email.pk) == State.FAILED
    email.refresh_from_db()
    assert email.last_error == "Every attempt was interrupted."


def test_a_worker_that_took_too_long_changes_nothing(clock: Clock) -> None:
    email = queue()
    slow = tasks._claim(email.pk)
    assert slow is not None
    clock.now += LEASE
    assert send_due_emails.call() == {State.SENT: 1}
    tasks._record_failure(slow, TimeoutError(), permanent=False)
    email.refresh_from_db()
    assert (email.state, email.last_error) == (State.SENT, "")


def test_a_result_is_recorded_only_for_the_email_and_the_attempt(clock: Clock) -> None:
    slow, other = (tasks._claim(email.pk) for email in (queue(), queue()))
    assert slow is not None
    assert other is not None
    tasks._record(slow, State.SKIPPED)
    assert (state_of(slow), state_of(other)) == (State.SKIPPED, State.SENDING)
    clock.now += LEASE
    assert tasks._claim(other.pk) is not None
    tasks._record(other, State.FAILED)
    assert state_of(other) == State.SENDING


def test_an_attempt_enqueues_the_next_one_for_the_end_of_its_lease(
    settings: Settings, clock: Clock
) -> None:
    email = queue()
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    deliver_email.call(email.pk)
    (result,) = task_backends["default"].results  # type: ignore[attr-defined]
    assert (result.task.run_after, result.args) == (clock.now + LEASE, [email.pk])


def test_an_email_that_is_not_due_is_looked_at_again(clock: Clock, worker: Worker) -> None:
    email = queue(next_attempt_at=clock.now + timedelta(hours=1))
    worker()
    clock.advance(minutes=59)
    worker()
    assert state_of(email) == State.QUEUED
    clock.advance(minutes=1)
    worker()
    assert state_of(email) == State.SENT


def test_no_transaction_is_open_during_smtp(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        EmailBackend, "send_messages", lambda *args: seen.append(connection.in_atomic_block)
    )
    queue()  # Sent immediately, because there is no transaction.
    assert seen == [False]


@pytest.mark.django_db(transaction=True)
def test_many_workers_send_each_email_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: Counter[str] = Counter()

    def record(backend: EmailBackend, messages: Sequence[EmailMessage]) -> int:
        time.sleep(0.001)
        sent.update(messages[0].to)
        return 1

    def work() -> None:
        try:
            send_due_emails.call()
        finally:
            connection.close()

    monkeypatch.setattr(EmailBackend, "send_messages", record)
    now = timezone.now()
    Email.objects.bulk_create(
        Email(kind="greeting", to=f"{number}@example.com", language="en", next_attempt_at=now)
        for number in range(40)
    )
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sent == Counter(f"{number}@example.com" for number in range(40))
    assert set(Email.objects.values_list("state", "attempts")) == {(State.SENT, 1)}


# Sending again


def test_a_failed_email_can_be_sent_again(mailoutbox: Sequence[EmailMessage]) -> None:
    failed = queue(1, state=State.FAILED, attempts=MAX_ATTEMPTS, next_attempt_at=None)
    queue(2, state=State.SENDING, next_attempt_at=timezone.now() + LEASE)
    assert requeue_emails(Email.objects.all()) == 1
    assert send_due_emails.call() == {State.SENT: 1}
    failed.refresh_from_db()
    assert (failed.state, failed.attempts) == (State.SENT, 1)
    assert addresses(mailoutbox) == ["1@example.com"]


@pytest.mark.parametrize(
    ("replies", "permanent"),
    [
        ([(550, b"5.1.1 no such user")], True),
        ([(551, b"5.1.6 has moved")], True),
        ([(553, b"mailbox name not allowed")], True),
        ([(552, b"5.2.2 mailbox full")], False),
        ([(550, b"5.7.1 relaying denied")], False),
        ([(450, b"4.2.1 try later")], False),
        ([(530, b"5.7.0 authentication required")], False),
        ([(554, b"no service here")], False),
    ],
)
def test_only_a_rejected_address_fails_at_the_first_attempt(
    replies: list[tuple[int, bytes]], permanent: bool
) -> None:
    refused = smtplib.SMTPRecipientsRefused({f"{n}@e.com": r for n, r in enumerate(replies)})
    assert tasks._is_permanent(refused) is permanent


@pytest.mark.parametrize("address", ["al\u0131@example.com", "ana@localhost", 'ana@"example.com'])
def test_an_invalid_address_fails_at_the_first_attempt(
    address: str, mailoutbox: Sequence[EmailMessage]
) -> None:
    email = queue(to=address)
    assert send_due_emails.call() == {State.FAILED: 1}
    email.refresh_from_db()
    assert email.attempts == 1
    assert not mailoutbox


def test_a_domain_is_encoded_with_idna_2008(mailoutbox: Sequence[EmailMessage]) -> None:
    queue(to="ana@stra\u00dfe.example")
    send_due_emails.call()
    assert addresses(mailoutbox) == ["ana@xn--strae-oqa.example"]


def test_an_invalid_certificate_is_not_a_permanent_failure() -> None:
    assert not tasks._is_permanent(ssl.SSLCertVerificationError())


def test_an_email_that_cannot_be_rendered_is_retried(greeting: dict[str, Any]) -> None:
    """The next release may fix it."""
    greeting["0"] = lambda: int("")
    queue()
    assert send_due_emails.call() == {State.QUEUED: 1}


# Pruning


def test_old_emails_are_deleted_unless_they_wait(capsys: pytest.CaptureFixture[str]) -> None:
    now = timezone.now()
    for number, (state, days) in enumerate(
        [
            (State.SENT, 91),
            (State.SKIPPED, 91),
            (State.FAILED, 91),
            (State.QUEUED, 91),
            (State.SENDING, 91),
            (State.SENT, 89),
        ]
    ):
        queue(number, state=state, created_at=now - timedelta(days=days))
    call_command("prune_emails")
    assert capsys.readouterr().out == "3 deleted\n"
    assert {email.to[0] for email in Email.objects.all()} == {"3", "4", "5"}
    with pytest.raises(CommandError, match="--days is 0 or more"):
        call_command("prune_emails", days=-1)


def test_an_email_that_is_not_logged_is_deleted_once_it_is_sent(
    mailoutbox: Sequence[EmailMessage], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = replace(kinds.get_kind("greeting"), is_logged=False)
    monkeypatch.setitem(kinds._kinds, "greeting", kind)
    email = queue()
    mailers, settings.MAILERS = settings.MAILERS, DOWN
    send_due_emails.call()
    assert state_of(email) == State.QUEUED
    settings.MAILERS = mailers
    requeue_emails(Email.objects.all())
    send_due_emails.call()
    assert len(mailoutbox) == 1
    assert not Email.objects.exists()


def test_the_terminal_shows_an_email_as_people_read_it(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = "apps.communication.terminal.EmailBackend"
    settings.MAILERS = {"default": {"BACKEND": backend}}
    email = queue()
    send_due_emails.call()
    assert state_of(email) == State.SENT
    printed = capsys.readouterr().out
    for line in (f"From: {settings.DEFAULT_FROM_EMAIL}", "To: 0@example.com", "Subject: Hello Ana"):
        assert f"\n{line}\n" in printed
    assert "Look: <https://e.com/x>\n" in printed
