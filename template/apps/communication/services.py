"""Queue and delete e-mails. ``apps.communication.tasks`` sends them."""

import inspect
import json
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Min, QuerySet
from django.utils import timezone, translation

from apps.communication.kinds import get_kind
from apps.communication.languages import supported_language
from apps.communication.models import Email
from apps.communication.tasks import enqueue_delivery
from common import telemetry


def queue_email(
    kind: str, *, to: str, context: dict[str, object], language: str | None = None
) -> Email:
    """Store an e-mail and its task in the current transaction: if that is rolled back, nothing is sent.

    ``context`` contains the arguments of the kind's function, as JSON: ids, never a token.
    ``language`` defaults to the active one. Raises ``UnknownEmailKindError``, and ``TypeError`` or
    ``ValueError`` for a context with which every delivery would fail.
    """
    inspect.signature(get_kind(kind).values).bind(**context)
    json.dumps(context, allow_nan=False)
    with transaction.atomic():
        email = Email.objects.create(
            kind=kind,
            to=to,
            context=context,
            language=supported_language(language or translation.get_language()),
            traceparent=telemetry.traceparent(),
        )
        enqueue_delivery(email)
    return email


def requeue_emails(emails: QuerySet[Email]) -> int:
    """Make e-mails due now, with all attempts, and return their number. Skip those being sent."""
    with transaction.atomic():
        idle = list(emails.exclude(state=Email.State.SENDING).select_for_update())
        for email in idle:
            email.state, email.attempts = Email.State.QUEUED, 0
            email.next_attempt_at = timezone.now()
            email.save(update_fields=["state", "attempts", "next_attempt_at"])
            enqueue_delivery(email)
    return len(idle)


def prune_emails(*, days: float) -> int:
    """Delete e-mails that were queued ``days`` ago and wait for nothing. Return their number."""
    old = timezone.now() - timedelta(days=days)
    done = Email.objects.exclude(state__in=Email.WAITING)
    return done.filter(created_at__lt=old).delete()[0]


def measure() -> dict[str, float]:
    """Return metrics of the queue, for ``settings.MEASUREMENTS``. Times are in seconds.

    A waiting e-mail may wait for its next attempt. An overdue one waits for a worker.
    """
    row = Email.objects.filter(state__in=Email.WAITING).aggregate(
        waiting=Count("pk"), oldest=Min("created_at"), due=Min("next_attempt_at")
    )
    now = timezone.now()
    oldest, due = row["oldest"] or now, row["due"] or now
    return {
        "email.waiting": row["waiting"],
        "email.oldest_waiting_seconds": (now - oldest).total_seconds(),
        "email.overdue_seconds": max(0, (now - due).total_seconds()),
    }
