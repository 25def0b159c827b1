"""The retry policy: how often an event is sent, and how long it waits in between."""

from datetime import timedelta
from typing import Any

from django.db.models import Value
from django.db.models.functions import Concat, Now

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.answer import Answer
from common.backoff import backoff

# Refusals until an event is dead. The waits between them double from 10 seconds to an hour:
# about 5 hours in all, in which someone may fix the cause.
MAX_ATTEMPTS = 12
FIRST_WAIT = 10
LONGEST_WAIT = 3600

# Seconds until SQS is asked again about an event that it neither accepted nor refused.
UNKNOWN_WAIT = 5

# Characters of an error of SQS.
LONGEST_ERROR = 1000


def after_failure(event: EventSync, answer: Answer) -> dict[str, Any]:
    """Return what to store for a claimed event that SQS did not accept."""
    if event.pk in answer.refused:
        return _after_refusal(event, answer.refused[event.pk][:LONGEST_ERROR])
    # In an outage the whole relay waits, so the event is due as soon as any relay can send again.
    wait = timedelta(seconds=backoff(1, first=UNKNOWN_WAIT, longest=UNKNOWN_WAIT))
    return {
        "state": EventSync.State.PENDING,
        "next_attempt_at": Now() if answer.outage else Now() + wait,
        "last_error": answer.unknown[event.pk][:LONGEST_ERROR],
        "message_id": answer.out_of_turn.get(event.pk, event.message_id),
    }


def _after_refusal(event: EventSync, reason: str) -> dict[str, Any]:
    attempts = event.attempts + 1
    dead = attempts >= MAX_ATTEMPTS
    wait = timedelta(seconds=backoff(attempts, first=FIRST_WAIT, longest=LONGEST_WAIT))
    return {
        "state": EventSync.State.DEAD if dead else EventSync.State.PENDING,
        "next_attempt_at": None if dead else Now() + wait,
        "attempts": attempts,
        "last_error": reason,
        "log": Concat("log", Value(f"Attempt {attempts} was refused. {reason}\n")),
    }
