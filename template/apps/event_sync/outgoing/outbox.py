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
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, OuterRef, QuerySet, Subquery, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Concat, Now

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.messages import MAX_BATCH

# Seconds that a claim lasts: several times the time-out of a request.
LEASE = 60

# Seconds after which a blocked event is tried again. Normally it becomes due when the event before
# it is sent; this is for a row that was deleted by hand.
BLOCKED = 3600


# SQL, because an UPDATE with a CASE of the ORM takes 15 times as long to build.
# It does not begin with WITH: drivers may count no rows then.
_RECORD_SENT = """
UPDATE event_sync_eventsync
SET state = 'sent', sent = CURRENT_TIMESTAMP, message_id = accepted.column3,
    lease = '', next_attempt_at = NULL, last_error = ''
FROM (VALUES {values}) AS accepted
WHERE id = accepted.column1 AND lease = accepted.column2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """SQS accepted the event."""

    event_id: int
    lease: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """SQS did not accept the event: it is dead, or waits for a number of seconds."""

    event_id: int
    lease: str
    dead: bool
    attempts: int
    wait: float
    message_id: str
    """The id of a message that SQS accepted out of turn, so that the event must be sent again."""
    error: str
    remark: str


def outbox_connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the database that holds the events."""
    return connections[router.db_for_write(EventSync)]


def atomic() -> transaction.Atomic:
    """Return a transaction in the database of the events."""
    return transaction.atomic(using=outbox_connection().alias)


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
    with atomic():
        events = list(_events().filter(pk__in=_take_in_order(due)) if in_order else due)
        _events().filter(pk__in=[event.pk for event in events]).update(
            state=EventSync.State.SENDING,
            blocked=False,
            lease=lease,
            next_attempt_at=Now() + timedelta(seconds=LEASE),
        )
    for event in events:
        event.state, event.lease = EventSync.State.SENDING, lease
    return sorted(events, key=lambda event: event.pk)


def is_anything_due() -> bool:
    """Return whether a claim would read any row: to claim it, or to mark it as blocked."""
    return _due().exists()


def unblock(obj_keys: Iterable[str]) -> None:
    """Make the first events of these objects due, after an earlier one was sent or deleted."""
    unsent = _events().filter(sent__isnull=True).order_by("pk")
    first = [
        pk
        for key in obj_keys
        for pk in unsent.filter(obj_key=key).values_list("pk", flat=True)[:MAX_BATCH]
    ]
    # Due since they were created, so that they are sent before what was stored after them.
    _events().filter(pk__in=first, blocked=True).update(blocked=False, next_attempt_at=F("created"))


def record_sent(events: Sequence[Sent], *, in_order: bool = False) -> int:
    """Mark events as sent, and return how many of them were still held.

    ``in_order`` makes the next events of their objects due, in the same transaction: no event may
    stay blocked by one that has been sent.
    """
    if not events:
        return 0
    values = ", ".join(["(CAST(%s AS bigint), %s, %s)"] * len(events))
    parameters = [
        value for event in events for value in (event.event_id, event.lease, event.message_id)
    ]
    with atomic() if in_order else nullcontext():
        with outbox_connection().cursor() as cursor:
            cursor.execute(_RECORD_SENT.format(values=values), parameters)
            recorded: int = cursor.rowcount
        if in_order:
            _unblock_next([event.event_id for event in events])
    return recorded


def record_failed(events: Sequence[Failed]) -> int:
    """Record why events were not sent, and return how many of them were still held."""
    return sum(
        _held(event.lease, [event.event_id]).update(
            state=EventSync.State.DEAD if event.dead else EventSync.State.PENDING,
            attempts=event.attempts,
            lease="",
            message_id=event.message_id,
            next_attempt_at=None if event.dead else _in(event.wait),
            last_error=event.error,
            log=Concat("log", Value(event.remark)),
        )
        for event in events
    )


def release(events: Iterable[EventSync]) -> None:
    """Make claimed events due again that no one has tried to send."""
    by_lease: dict[str, list[int]] = {}
    for event in events:
        by_lease.setdefault(event.lease, []).append(event.pk)
    for lease, event_ids in by_lease.items():
        _held(lease, event_ids).update(
            state=EventSync.State.PENDING, lease="", next_attempt_at=Now()
        )


def unblock_all() -> None:
    """Make every blocked event due. The next claim blocks again those that have to wait.

    Older releases did not unblock events, and a queue may be replaced by one that is not FIFO.
    """
    _events().filter(blocked=True, sent__isnull=True).update(
        blocked=False, next_attempt_at=F("created")
    )


def requeue(events: QuerySet[EventSync]) -> int:
    """Make events due at once, with all attempts, and return their number. Skip those in flight."""
    return events.exclude(state=EventSync.State.SENDING).update(
        state=EventSync.State.PENDING,
        attempts=0,
        lease="",
        sent=None,
        blocked=False,
        next_attempt_at=Now(),
    )


def prune(*, days: float, batch: int = 1000) -> int:
    """Delete events that were sent ``days`` ago, in batches, and return their number."""
    old = _events().filter(state=EventSync.State.SENT, sent__lt=Now() - timedelta(days=days))
    deleted = 0
    while ids := list(old.order_by("sent").values_list("pk", flat=True)[:batch]):
        deleted += old.filter(pk__in=ids).delete()[0]
    return deleted


def _events() -> QuerySet[EventSync]:
    return EventSync.objects.using(outbox_connection().alias)


def _in(seconds: float) -> Combinable:
    # Not Now() plus zero: where times are stored as text, that may be later than Now().
    return Now() + timedelta(seconds=seconds) if seconds else Now()


def _held(lease: str, event_ids: Sequence[int]) -> QuerySet[EventSync]:
    """Return those of the events that no one else has claimed since."""
    return _events().filter(lease=lease, pk__in=event_ids)


def _due() -> QuerySet[EventSync]:
    # exclude(), not filter(state__in=…): without statistics, a database may take the latter for a
    # rare case, and read the whole table instead of the first rows of the index.
    done = [EventSync.State.SENT, EventSync.State.DEAD]
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
        state=EventSync.State.PENDING,
        blocked=True,
        lease="",
        next_attempt_at=Now() + timedelta(seconds=BLOCKED),
    )


def _unblock_next(sent_ids: Sequence[int]) -> None:
    """Unblock the next events of the objects of these events."""
    unsent = EventSync.objects.filter(obj_key=OuterRef("obj_key"), sent__isnull=True)
    next_is_blocked = Subquery(unsent.order_by("pk").values("blocked")[:1])
    rows = _events().filter(pk__in=sent_ids).order_by().values_list("obj_key", next_is_blocked)
    unblock({obj_key for obj_key, is_blocked in rows if is_blocked})
