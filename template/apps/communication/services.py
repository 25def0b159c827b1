"""Queue e-mails. ``apps.communication.tasks`` sends them."""

import inspect
import json

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone, translation

from apps.communication.kinds import get_kind
from apps.communication.languages import supported_language
from apps.communication.models import Email
from apps.communication.tasks import wake_up


def queue_email(
    kind: str, *, to: str, context: dict[str, object], language: str | None = None
) -> Email:
    """Store an e-mail in the current transaction, and send it after that commits.

    ``context`` contains the arguments of the kind's function, as JSON: ids, never a token.
    ``language`` defaults to the active one. Raises ``UnknownEmailKindError``, and ``TypeError`` or
    ``ValueError`` for a context with which every delivery would fail.
    """
    inspect.signature(get_kind(kind).values).bind(**context)
    json.dumps(context, allow_nan=False)
    email = Email.objects.create(
        kind=kind,
        to=to,
        context=context,
        language=supported_language(language or translation.get_language()),
    )
    # robust: the row is stored, so a request does not fail if the task cannot be enqueued.
    transaction.on_commit(wake_up, robust=True)
    return email


def requeue_emails(emails: QuerySet[Email]) -> int:
    """Make e-mails due now, with all attempts, and return their number. Skip those being sent."""
    idle = emails.exclude(state=Email.State.SENDING)
    count = idle.update(state=Email.State.QUEUED, attempts=0, next_attempt_at=timezone.now())
    transaction.on_commit(wake_up, robust=True)
    return count
