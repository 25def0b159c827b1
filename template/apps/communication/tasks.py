"""Deliver e-mails. A task for each e-mail is the queue; the table of e-mails is the delivery log.

Delivery is at least once, as in SMTP itself: if a worker is killed after the server has accepted an
e-mail and before that is recorded, the e-mail is sent again.
"""

import smtplib
from collections import Counter
from datetime import datetime, timedelta

from django.core.mail import EmailMultiAlternatives, mailers
from django.db import transaction
from django.tasks import task
from django.utils import timezone, translation
from structlog import get_logger

from apps.communication.kinds import get_kind
from apps.communication.models import Email
from apps.communication.rendering import render_email
from common import telemetry
from common.backoff import backoff
from common.email_addresses import normalise_email

logger = get_logger(__name__)

# How long an attempt can take. A silent SMTP server costs less: the mailer's time-out of 10 seconds,
# for each of a dozen commands.
LEASE = timedelta(minutes=3)

# Seconds. The waits double from FIRST_WAIT, and all attempts take more than two days.
MAX_ATTEMPTS = 24
FIRST_WAIT = 4 * 60
LONGEST_WAIT = 6 * 60 * 60


@task
def deliver_email(email_id: int) -> str | None:
    """Try to send an e-mail if it is due, and return its new state."""
    email = _claim(email_id)
    if email is None:
        return None
    with telemetry.span("email.deliver", "CONSUMER", parent=email.traceparent):
        state = _attempt(email)
    telemetry.count("email.attempts", {state: 1})
    return state


@task
def send_due_emails() -> dict[str, int]:
    """Send all due e-mails, and return the number of e-mails by their new state.

    Only needed without a worker, and for tasks that a previous release has enqueued.
    """
    due = Email.objects.due(timezone.now()).order_by("next_attempt_at")
    states = [deliver_email.call(pk) for pk in due.values_list("pk", flat=True)]
    return Counter(state for state in states if state)


def enqueue_delivery(email: Email) -> None:
    """Enqueue a task for now, and one for the case that the worker of the first one is killed."""
    deliver_email.enqueue(email.pk)
    _enqueue_later(email, timezone.now() + LEASE)


def _enqueue_later(email: Email, at: datetime) -> None:
    # The lower priority lets new tasks pass the retries of a long outage.
    deliver_email.using(run_after=at, priority=-1).enqueue(email.pk)


def _claim(email_id: int) -> Email | None:
    """Return the e-mail if it is due, for this worker only.

    Enqueues the next task first, because django-tasks-db does not run the task of a killed worker
    again.
    """
    with transaction.atomic():
        waiting = Email.objects.select_for_update().filter(state__in=Email.WAITING)
        email = waiting.filter(pk=email_id).first()
        if email is None:
            return None
        now = timezone.now()
        due_at = email.next_attempt_at or now
        if due_at > now:
            _enqueue_later(email, due_at)
            return None
        email.state, email.next_attempt_at = Email.State.SENDING, now + LEASE
        email.attempts += 1
        email.save(update_fields=["state", "next_attempt_at", "attempts"])
        _enqueue_later(email, email.next_attempt_at)
    return email


def _attempt(email: Email) -> Email.State:
    """Try to send a claimed e-mail, and record the result."""
    if email.attempts > MAX_ATTEMPTS:
        return _record(email, Email.State.FAILED, last_error="Every attempt was interrupted.")
    try:
        message = _build(email)
    except Exception as error:  # noqa: BLE001 - the next release may fix it
        return _record_failure(email, error, permanent=False)
    if message is None:
        return _record(email, Email.State.SKIPPED)
    try:
        _send(message)
    except Exception as error:  # noqa: BLE001
        return _record_failure(email, error, permanent=_is_permanent(error))
    return _record(
        email, Email.State.SENT, subject=message.subject, sent_at=timezone.now(), last_error=""
    )


def _build(email: Email) -> EmailMultiAlternatives | None:
    kind = get_kind(email.kind)
    with translation.override(email.language):
        values = kind.values(**email.context)
        if values is None:
            return None
        rendered = render_email(kind, email.language, values)
    message = EmailMultiAlternatives(
        subject=rendered.subject,
        body=rendered.text,
        to=[email.to],
        # Prevents automatic replies: RFC 3834.
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(rendered.html, "text/html")
    return message


def _send(message: EmailMultiAlternatives) -> None:
    message.to = [normalise_email(address) for address in message.to]
    with telemetry.messaging_call("smtp", "send"), mailers["default"] as mailer:
        mailer.send_messages([message])


def _record_failure(email: Email, error: Exception, *, permanent: bool) -> Email.State:
    logger.warning(
        "email_not_sent",
        email_id=email.pk,
        kind=email.kind,
        attempt=email.attempts,
        error=error,
    )
    last_error = f"{type(error).__name__}: {error}"[:1000]
    if email.attempts >= MAX_ATTEMPTS or permanent:
        return _record(email, Email.State.FAILED, last_error=last_error)
    wait = backoff(email.attempts, first=FIRST_WAIT, longest=LONGEST_WAIT)
    next_attempt_at = timezone.now() + timedelta(seconds=wait)
    return _record(
        email, Email.State.QUEUED, last_error=last_error, next_attempt_at=next_attempt_at
    )


def _record(
    email: Email, state: Email.State, *, next_attempt_at: datetime | None = None, **fields: object
) -> Email.State:
    # The lease is the fence: a worker that took too long changes nothing.
    held = Email.objects.filter(
        pk=email.pk, state=Email.State.SENDING, next_attempt_at=email.next_attempt_at
    )
    if state == Email.State.SENT and not get_kind(email.kind).is_logged:
        held.delete()
    else:
        held.update(state=state, next_attempt_at=next_attempt_at, **fields)
    return state


def _is_permanent(error: Exception) -> bool:
    """Return whether no later attempt can succeed.

    A policy refusal (5.7, RFC 3463: no relaying, sender not verified) is caused by our set-up, which
    can be fixed while the e-mail waits.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(
            code in {550, 551, 553} and not reply.startswith(b"5.7.")
            for code, reply in error.recipients.values()
        )
    # An invalid address or header. An invalid certificate is a ValueError as well.
    return isinstance(error, ValueError) and not isinstance(error, OSError)
