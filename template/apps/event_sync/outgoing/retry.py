"""The retry policy: how often an event is sent, and how long it waits in between."""

from collections.abc import Sequence

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.outbox import Failed, Sent
from apps.event_sync.outgoing.sending import Answer
from common.backoff import backoff

# Refusals until an event is dead. The waits between them double from 10 seconds to an hour:
# about 5 hours in all, in which someone may fix the cause.
MAX_ATTEMPTS = 12
FIRST_WAIT = 10
LONGEST_WAIT = 3600

# Seconds until SQS is asked again about an event that it neither accepted nor refused.
UNKNOWN_WAIT = 5

# Seconds between attempts to reach SQS or the database again.
FIRST_PAUSE = 1
LONGEST_PAUSE = 60

# After a failed request, seconds during which web requests leave their events to the relay.
WEB_PAUSE = 30


def results_of(events: Sequence[EventSync], answer: Answer) -> tuple[list[Sent], list[Failed]]:
    """Return what to record for each claimed event of a request."""
    sent = []
    failed = []
    for event in events:
        if message_id := answer.accepted.get(event.pk):
            sent.append(Sent(event_id=event.pk, lease=event.lease, message_id=message_id))
        elif event.pk in answer.refused:
            failed.append(_refused(event, answer.refused[event.pk][:1000]))
        else:
            failed.append(_unknown(event, answer))
    return sent, failed


def _refused(event: EventSync, reason: str) -> Failed:
    attempts = event.attempts + 1
    return Failed(
        event_id=event.pk,
        lease=event.lease,
        dead=attempts >= MAX_ATTEMPTS,
        attempts=attempts,
        wait=backoff(attempts, first=FIRST_WAIT, longest=LONGEST_WAIT),
        message_id=event.message_id,
        error=reason,
        remark=f"Attempt {attempts} was refused. {reason}\n",
    )


def _unknown(event: EventSync, answer: Answer) -> Failed:
    # In an outage the whole relay waits, so the event is due as soon as any relay can send again.
    wait = 0 if answer.outage else backoff(1, first=UNKNOWN_WAIT, longest=UNKNOWN_WAIT)
    return Failed(
        event_id=event.pk,
        lease=event.lease,
        dead=False,
        attempts=event.attempts,
        wait=wait,
        message_id=answer.out_of_turn.get(event.pk, event.message_id),
        error=answer.unknown.get(event.pk, "")[:1000],
        remark="",
    )
