"""Send the e-mails that are due.

The table of e-mails is the queue, and a task makes a worker look at it: losing one, or running one
too many, does no harm. Delivery is at least once, as in SMTP itself: if a worker dies after the
server has accepted an e-mail and before that is recorded, the e-mail is sent again.
"""

import smtplib
from collections import Counter
from contextlib import closing, suppress
from datetime import datetime, timedelta

from django.core.mail import EmailMultiAlternatives, mailers
from django.db.models import F
from django.tasks import task, task_backends
from django.utils import timezone, translation
from structlog import get_logger

from apps.communication.kinds import get_kind
from apps.communication.models import Email
from apps.communication.rendering import render_email
from common.backoff import backoff
from common.email_addresses import normalise_email

logger = get_logger(__name__)

# How long a worker may take for one e-mail before another one sends it. Far more than a silent SMTP
# server costs: the mailer's time-out, for each of a dozen commands.
LEASE = timedelta(minutes=10)

# Seconds. The waits double from a minute to 6 hours, and all attempts take about two days.
MAX_ATTEMPTS = 20
FIRST_WAIT = 60
LONGEST_WAIT = 6 * 60 * 60


@task
def send_due_emails() -> dict[str, int]:
    """Send the due e-mails one by one, and return the number of e-mails by their new state.

    Several workers can run this at the same time. No transaction is open during SMTP.
    """
    states: Counter[str] = Counter()
    watched_until = timezone.now()
    with closing(_Connection()) as connection:
        while email := _claim_next():
            now = timezone.now()
            if now + LEASE > watched_until:
                # If this worker is killed, another one takes over then.
                watched_until = now + 2 * LEASE
                wake_up(watched_until)
            states[_attempt(email, connection)] += 1
    return states


def wake_up(at: datetime | None = None) -> None:
    """Let a worker look at the table, now or at a given time."""
    if at is None:
        send_due_emails.enqueue()
    elif task_backends[send_due_emails.backend].supports_defer:
        send_due_emails.using(run_after=at).enqueue()


def _claim_next() -> Email | None:
    """Claim one due e-mail for the time of a lease. Return None if nothing is due.

    With a conditional UPDATE, only one of two workers that have read the same row changes it. The
    attempt is counted here, so that an e-mail that kills its worker fails in the end too.
    """
    while True:
        now = timezone.now()
        email = Email.objects.due(now).order_by("next_attempt_at").first()
        if email is None:
            return None
        lease = now + LEASE
        claimed = Email.objects.filter(
            pk=email.pk, state=email.state, next_attempt_at=email.next_attempt_at
        ).update(state=Email.State.SENDING, attempts=F("attempts") + 1, next_attempt_at=lease)
        if claimed:
            email.state, email.next_attempt_at = Email.State.SENDING, lease
            email.attempts += 1
            return email


def _attempt(email: Email, connection: "_Connection") -> Email.State:
    """Try to send a claimed e-mail, and record the result."""
    try:
        message = _build(email)
    except Exception as error:  # noqa: BLE001 - the other e-mails must be sent
        return _record_failure(email, error, permanent=False)
    if message is None:
        return _record(email, Email.State.SKIPPED)
    try:
        connection.send(message)
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
    _record(email, Email.State.QUEUED, last_error=last_error, next_attempt_at=next_attempt_at)
    wake_up(next_attempt_at)
    return Email.State.QUEUED


def _record(
    email: Email, state: Email.State, *, next_attempt_at: datetime | None = None, **fields: object
) -> Email.State:
    # The lease is the fence: a worker that took too long changes nothing.
    Email.objects.filter(
        pk=email.pk, state=Email.State.SENDING, next_attempt_at=email.next_attempt_at
    ).update(state=state, next_attempt_at=next_attempt_at, **fields)
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


class _Connection:
    """A connection to the mail server for a whole run, opened for the first e-mail."""

    def __init__(self) -> None:
        self._mailer = mailers["default"]
        self._outage: OSError | None = None

    def send(self, message: EmailMultiAlternatives) -> None:
        message.to = [normalise_email(address) for address in message.to]
        if self._outage is not None:
            # One time-out a run is enough: the other e-mails are retried later.
            raise self._outage
        try:
            self._mailer.open()
        except OSError as error:  # smtplib's errors are OSErrors
            self._outage = error
            raise
        try:
            self._mailer.send_messages([message])
        except Exception:
            # The state of the connection is unknown: the next e-mail opens a new one.
            self.close()
            raise

    def close(self) -> None:
        # The results are recorded, so an error here has no effect.
        with suppress(OSError):
            self._mailer.close()
