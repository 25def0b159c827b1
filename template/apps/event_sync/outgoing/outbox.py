"""The states of an event, and who may change them.

    pending -> sending -> sent
       ^          |
       +----------+-----> dead

A claim takes due events for the time of a lease, with their rows locked, so that two relays never
hold the same event. Only the holder of the lease may change the event: a relay that was too slow,
and whose event another relay has claimed since, changes nothing. If a relay dies, its leases
expire. All times are those of the database's clock.
"""

import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from structlog import get_logger

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.messages import MAX_BATCH
from apps.event_sync.outgoing.retry import after_failure
from common import telemetry

logger = get_logger(__name__)

State = EventSync.State

# Seconds that a claim lasts: several times the time-out of a request.
LEASE = 60

# Seconds after which a blocked event is tried again. Normally it becomes due when the event before
# it is sent; this is for a row that was deleted by hand.
BLOCKED = 3600

# SQL, because an UPDATE with a CASE of the ORM takes 15 times as long to build.
# It does not begin with WITH: drivers may count no rows then.
_RECORD_SENT = """
UPDATE event_sync_eventsync
SET state = 'sent', sent = CURRENT_TIMESTAMP, message_id = accepted.column2,
    lease = '', next_attempt_at = NULL, last_error = ''
FROM (VALUES {values}) AS accepted
WHERE id = accepted.column1 AND lease = %s
"""


def outbox_connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the database that holds the events."""
    return connections[router.db_for_write(EventSync)]


def claim(
    limit: int, *, in_order: bool = False, only: Sequence[int] | None = None
) -> list[EventSync]:
    """Claim up to ``limit`` due events for ``LEASE`` seconds, and return them in the order of their ids.

    ``in_order`` claims up to ``MAX_BATCH`` consecutive events of each object, from its first unsent
    event on, and none if that one is not due. ``only`` restricts the claim to these ids.

    The cost does not depend on the number of waiting events: at most ``limit`` rows are read, and
    those that cannot be claimed are marked ``blocked``, so that the next claim does not read them.
    """
    due = _due()
    if only is not None:
        due = due.filter(pk__in=only)
    due = due.order_by("next_attempt_at", "pk").select_for_update(skip_locked=True)[:limit]
    lease = uuid.uuid4().hex
    with _atomic():
        events = list(_events().filter(pk__in=_take_in_order(due)) if in_order else due)
        _events().filter(pk__in=[event.pk for event in events]).update(
            state=State.SENDING,
            blocked=False,
            lease=lease,
            next_attempt_at=Now() + timedelta(seconds=LEASE),
        )
    for event in events:
        event.state, event.lease = State.SENDING, lease
    return sorted(events, key=lambda event: event.pk)


def is_anything_due() -> bool:
    """Return whether a claim would read any row: to claim it, or to mark it as blocked."""
    return _due().exists()


def record(events: Sequence[EventSync], answer: Answer, *, in_order: bool) -> Counter[str]:
    """Record what became of the events of one claim, and return the numbers of results.

    Events that the answer does not mention were not sent, and are due again. ``in_order`` makes the
    next events of the objects due, in the same transaction: no event may stay blocked by one that
    has been sent.
    """
    sent, failed, unsent = [], [], []
    for event in events:
        if event.pk in answer.accepted:
            sent.append(event)
        elif event.pk in answer.refused or event.pk in answer.unknown:
            failed.append(event)
        else:
            unsent.append(event)
    counts: Counter[str] = Counter()
    # A single statement needs no transaction.
    with _atomic() if in_order or failed or unsent else nullcontext():
        if sent:
            counts["sent"] = _record_sent(sent, answer)
            if in_order:
                _unblock_next(sent)
        for event in failed:
            values = after_failure(event, answer)
            recorded = _record_unsent([event], values)
            counts["failed"] += recorded
            if recorded and values["state"] == State.DEAD:
                counts["dead"] += 1
                logger.error("event_sync_dead", event_id=event.pk, error=values["last_error"])
        if unsent:
            _record_unsent(unsent, {"state": State.PENDING, "next_attempt_at": Now()})
    lost = len(sent) + len(failed) - counts["sent"] - counts["failed"]
    if lost:
        # Another relay has claimed them since, and sends them again.
        counts["lease_lost"] = lost
        logger.warning("event_sync_lease_lost", events=lost)
    telemetry.count("event_sync.results", counts)
    return counts


def unblock_all() -> None:
    """Make every blocked event due. The next claim blocks again those that have to wait."""
    _unblock(_events())


def requeue(events: QuerySet[EventSync]) -> int:
    """Make events due at once, with all attempts, and return their number. Skip those in flight."""
    return events.exclude(state=State.SENDING).update(
        state=State.PENDING, attempts=0, sent=None, next_attempt_at=Now()
    )


def prune(*, days: float, batch: int = 1000) -> int:
    """Delete events that were sent ``days`` ago, in batches, and return their number."""
    old = _events().filter(state=State.SENT, sent__lt=Now() - timedelta(days=days))
    deleted = 0
    while ids := list(old.order_by("sent").values_list("pk", flat=True)[:batch]):
        deleted += old.filter(pk__in=ids).delete()[0]
    return deleted


def _events() -> QuerySet[EventSync]:
    return EventSync.objects.using(outbox_connection().alias)


def _atomic() -> transaction.Atomic:
    return transaction.atomic(using=outbox_connection().alias)


def _due() -> QuerySet[EventSync]:
    # exclude(), not filter(state__in=…): without statistics, a database may take the latter for a
    # rare case, and read the whole table instead of the first rows of the index.
    done = [State.SENT, State.DEAD]
    return _events().exclude(state__in=done).filter(next_attempt_at__lte=Now())


def _take_in_order(due: QuerySet[EventSync]) -> list[int]:
    """Return which of these locked events may be sent together, and block the others."""
    earlier = EventSync.objects.filter(
        obj_key=OuterRef("obj_key"), sent__isnull=True, pk__lt=OuterRef("pk")
    )
    # A subquery of one row is looked up in the index for each event. As a join (NOT EXISTS)
    # the database may compare all events of an object with each other.
    previous = Subquery(earlier.order_by("-pk").values("pk")[:1])
    rows = due.annotate(previous=previous).values_list("pk", "obj_key", "previous")
    taken: set[int] = set()
    sizes: Counter[str] = Counter()
    blocked: dict[int, int] = {}
    for pk, obj_key, before in sorted(rows):
        if before is None or (before in taken and sizes[obj_key] < MAX_BATCH):
            taken.add(pk)
            sizes[obj_key] += 1
        else:
            blocked[pk] = before
    _block(blocked, locked=taken | blocked.keys())
    return list(taken)


def _block(previous: dict[int, int], *, locked: set[int]) -> None:
    """Block events until the one before each of them (the value) is sent.

    The one before is locked, so that whoever records it as sent does so after this transaction and
    finds the blocked event. If it cannot be locked now, the event stays due.
    """
    if not previous:
        return
    others = _events().filter(pk__in=set(previous.values()) - locked, sent__isnull=True)
    locked = locked.union(others.select_for_update(skip_locked=True).values_list("pk", flat=True))
    _events().filter(pk__in=[pk for pk, before in previous.items() if before in locked]).update(
        state=State.PENDING,
        blocked=True,
        lease="",
        next_attempt_at=Now() + timedelta(seconds=BLOCKED),
    )


def _record_sent(events: Sequence[EventSync], answer: Answer) -> int:
    """Mark events as sent, and return how many of them were still held."""
    values = ", ".join(["(CAST(%s AS bigint), %s)"] * len(events))
    parameters: list[Any] = []
    for event in events:
        parameters += event.pk, answer.accepted[event.pk]
    with outbox_connection().cursor() as cursor:
        cursor.execute(_RECORD_SENT.format(values=values), [*parameters, events[0].lease])
        recorded: int = cursor.rowcount
    return recorded


def _record_unsent(events: Sequence[EventSync], values: dict[str, Any]) -> int:
    """End the claim of events that were not sent, and return how many were still held."""
    held = _events().filter(lease=events[0].lease, pk__in=[event.pk for event in events])
    return held.update(lease="", **values)


def _unblock_next(sent: Sequence[EventSync]) -> None:
    """Unblock the next events of the objects of these events."""
    unsent = _events().filter(sent__isnull=True).order_by("pk")
    is_blocked = Subquery(unsent.filter(obj_key=OuterRef("obj_key")).values("blocked")[:1])
    rows = _events().filter(pk__in=[event.pk for event in sent]).order_by()
    keys = {key for key, blocked in rows.values_list("obj_key", is_blocked) if blocked}
    following = [
        pk
        for key in keys
        for pk in unsent.filter(obj_key=key).values_list("pk", flat=True)[:MAX_BATCH]
    ]
    if following:
        _unblock(_events().filter(pk__in=following))


def _unblock(events: QuerySet[EventSync]) -> None:
    # Due since they were created, so that they are sent before what was stored after them.
    events.filter(blocked=True, sent__isnull=True).update(
        blocked=False, next_attempt_at=F("created")
    )
