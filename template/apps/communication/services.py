"""Queue e-mails, and send what is due.

The table is the truth, and the task (``apps.communication.tasks``) a mere wake-up: one lost, or
one too many, does no harm. Delivery is at least once, as SMTP itself is: a worker that dies
between the server's yes and our note of it sends that e-mail again.
"""

import inspect
import json
import random
import smtplib
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from django.core.mail import EmailMultiAlternatives, mailers
from django.db import transaction
from django.db.models import F, QuerySet
from django.tasks import task_backends
from django.utils import timezone, translation
from structlog import get_logger

from apps.communication.kinds import get_kind
from apps.communication.languages import supported_language
from apps.communication.models import Email
from apps.communication.rendering import render_email
from common.email_addresses import normalise_email

logger = get_logger(__name__)

# How long a worker may take for one e-mail before another sends it. Far beyond what a silent
# SMTP server costs: the mailer's timeout, once for each of a dozen commands.
LEASE = timedelta(minutes=10)

# Waits of 1, 3, 9, 27, 81 and 243 minutes, then 6 hours each: together 54 hours and more.
MAX_ATTEMPTS = 15
FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)


def queue_email(
    kind: str, *, to: str, context: dict[str, object], language: str | None = None
) -> Email:
    """Store an e-mail to be sent once the transaction commits; roll back, and it never was.

    ``context`` holds the arguments of the kind's function, as JSON: ids, never a token.
    ``language`` is the active one unless given. Raises at once what would fail at every
    delivery: ``UnknownEmailKindError``, or ``TypeError`` and ``ValueError`` for the context.
    """
    inspect.signature(get_kind(kind).values).bind(**context)
    json.dumps(context, allow_nan=False)
    email = Email.objects.create(
        kind=kind,
        to=to,
        context=context,
        language=supported_language(language or translation.get_language()),
    )
    # robust: the row is stored, and no request fails because a wake-up could not be sent.
    transaction.on_commit(_wake_up, robust=True)
    return email


def requeue_emails(emails: QuerySet[Email]) -> int:
    """Send these again, at once and with all attempts, whatever became of them before."""
    idle = emails.exclude(state=Email.State.SENDING)
    count = idle.update(state=Email.State.QUEUED, attempts=0, next_attempt_at=timezone.now())
    transaction.on_commit(_wake_up, robust=True)
    return count


def send_due_emails() -> Counter[str]:
    """Send what is due, one by one, and return how many ended in which state.

    Any number of workers may run this at once. No transaction is open while SMTP is spoken.
    """
    outcomes: Counter[str] = Counter()
    watched_until = timezone.now()
    with _Outbox() as outbox:
        while email := _claim_next():
            now = timezone.now()
            if now + LEASE > watched_until:
                # If this worker is killed, another is woken and takes over.
                watched_until = now + 2 * LEASE
                _wake_up(watched_until)
            outcomes[_attempt(email, outbox)] += 1
    return outcomes


def _wake_up(at: datetime | None = None) -> None:
    """Have a worker look at the table, at once or then."""
    from apps.communication.tasks import send_due_emails as task  # noqa: PLC0415 - it imports us

    if at is None:
        task.enqueue()
    elif task_backends[task.backend].supports_defer:
        task.using(run_after=at).enqueue()


def _claim_next() -> Email | None:
    """Take one due e-mail for the time of a lease, or return None when nothing is due.

    One conditional UPDATE: of two workers that saw the same row one changes it, on every
    database. The attempt counts from here, so that an e-mail that kills its worker ends too.
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


def _attempt(email: Email, outbox: "_Outbox") -> Email.State:
    """Try once to send a claimed e-mail, and note what came of it."""
    try:
        message = _build(email)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other e-mails must leave
        return _note_failure(email, error, permanent=False)
    if message is None:
        return _note(email, Email.State.SKIPPED)
    try:
        outbox.send(message)
    except Exception as error:  # noqa: BLE001
        return _note_failure(email, error, permanent=_is_permanent(error))
    return _note(
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
        # Keeps absence notices from answering: RFC 3834.
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(rendered.html, "text/html")
    return message


def _note_failure(email: Email, error: Exception, *, permanent: bool) -> Email.State:
    logger.warning(
        "email_not_sent",
        email_id=email.pk,
        kind=email.kind,
        attempt=email.attempts,
        error=type(error).__name__,
    )
    last_error = f"{type(error).__name__}: {error}"[:1000]
    if email.attempts >= MAX_ATTEMPTS or permanent:
        return _note(email, Email.State.FAILED, last_error=last_error)
    next_attempt_at = timezone.now() + _wait_after(email.attempts)
    _note(email, Email.State.QUEUED, last_error=last_error, next_attempt_at=next_attempt_at)
    _wake_up(next_attempt_at)
    return Email.State.QUEUED


def _note(
    email: Email, state: Email.State, *, next_attempt_at: datetime | None = None, **fields: object
) -> Email.State:
    # The lease is the fence: a worker that took too long changes nothing any more.
    Email.objects.filter(
        pk=email.pk, state=Email.State.SENDING, next_attempt_at=email.next_attempt_at
    ).update(state=state, next_attempt_at=next_attempt_at, **fields)
    return state


def _wait_after(attempts: int) -> timedelta:
    wait: timedelta = min(FIRST_WAIT * 3 ** (attempts - 1), LONGEST_WAIT)
    # Up to a quarter more, so that what failed together does not come back together.
    return wait * random.uniform(1, 1.25)  # noqa: S311 - no secret


def _is_permanent(error: Exception) -> bool:
    """Return whether no later attempt can succeed.

    A refusal by policy (5.7, RFC 3463: no relaying, sender not verified) is a fault of our
    set-up, which can be fixed while the e-mail waits.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(
            code in {550, 551, 553} and not reply.startswith(b"5.7.")
            for code, reply in error.recipients.values()
        )
    # No such address or header. A certificate that fails verification is a ValueError as well.
    return isinstance(error, ValueError) and not isinstance(error, OSError)


class _Outbox:
    """One connection to the mail server for a whole run, made when there is something to send."""

    def __init__(self) -> None:
        self._mailer = mailers["default"]
        self._outage: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def send(self, message: EmailMultiAlternatives) -> None:
        message.to = [normalise_email(address) for address in message.to]
        if self._outage is not None:
            # One time-out a run is enough: the others that wait are put off at once.
            raise self._outage
        try:
            self._mailer.open()
        except OSError as error:  # smtplib's errors are OSErrors too.
            self._outage = error
            raise
        try:
            self._mailer.send_messages([message])
        except Exception:
            # Nobody knows what the server expects next; the following e-mail connects anew.
            self._close()
            raise

    def _close(self) -> None:
        # The e-mails have left or been put off by now; a rude farewell changes nothing.
        with suppress(OSError):
            self._mailer.close()
