"""The states of an event, and who may change them.

    pending -> sending -> sent
       ^          |
       +----------+-----> dead

A claim takes due events for the time of a lease, with their rows locked, so that any number of
relays never hold the same event at once. What a claim took, only its holder may change: a relay that
was too slow, and whose event another has claimed since, changes nothing any more. A relay that
dies loses nothing: its lease runs out. All times are the database's; no other clock counts.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from apps.event_sync.messages import MAX_BATCH
from apps.event_sync.models import EventSync
from apps.event_sync.sql import dialect_of

# Seconds that a claim holds: several times what the slowest request may take.
LEASE = 60

# Seconds after which an event that waits for an earlier one of its object is looked at again.
# It is due much sooner: when that one is sent. This is for a row that was deleted by hand.
BLOCKED = 3600

_TABLE = EventSync._meta.db_table  # noqa: SLF001 - Django documents it

_MARK_SENT = """
WITH taken (event_id, held, message_id) AS (VALUES {values})
UPDATE {table} AS event
SET state = 'sent', sent = {now}, message_id = taken.message_id,
    lease = '', next_attempt_at = NULL, last_error = ''
FROM taken WHERE id = event_id AND lease = held
RETURNING id
"""
_MARK_FAILED = """
WITH failed (event_id, held, state, attempts, wait, message_id, error, remark)
AS (VALUES {values})
UPDATE {table} AS event
SET state = failed.state, attempts = failed.attempts, lease = '', message_id = failed.message_id,
    next_attempt_at = CASE WHEN failed.state = 'dead' THEN NULL ELSE {later} END,
    last_error = failed.error, log = event.log || failed.remark
FROM failed WHERE id = event_id AND lease = held
RETURNING id
"""


type _Parameter = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """SQS took the event, and gave it an id."""

    event_id: int
    lease: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """SQS did not take the event: it waits for so many seconds, or is dead."""

    event_id: int
    lease: str
    dead: bool
    attempts: int
    wait: float
    message_id: str
    """The id of a message that SQS took out of turn, so that the event must be sent again."""
    error: str
    remark: str


def outbox_connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the database that holds the events."""
    return connections[router.db_for_write(EventSync)]


def claim(
    limit: int, *, in_order: bool = False, only: Sequence[int] | None = None
) -> list[EventSync]:
    """Take up to so many due events for ``LEASE`` seconds, in the order of their ids.

    ``in_order`` takes up to ``MAX_BATCH`` events of each object, without a gap from the first that
    is not sent, and none if that one may not be tried now. ``only`` takes none but these ids.

    The cost does not depend on how many events wait: at most ``limit`` rows are read, and those
    that cannot be taken are marked ``blocked``, so that the next claim does not read them again.
    """
    due = _due()
    if only is not None:
        due = due.filter(pk__in=only)
    due = due.order_by("next_attempt_at", "pk").select_for_update(skip_locked=True)[:limit]
    lease = uuid.uuid4().hex
    with _transaction():
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
    """Return whether a claim would find something: events to take, or to mark as blocked."""
    return _due().exists()


def unblock(obj_keys: Iterable[str]) -> None:
    """Make the first events of these objects due, after an earlier one has left the outbox."""
    unsent = _events().filter(sent__isnull=True).order_by("pk")
    first = [
        pk
        for key in obj_keys
        for pk in unsent.filter(obj_key=key).values_list("pk", flat=True)[:MAX_BATCH]
    ]
    # As old as they are: they go before what was stored after them.
    _events().filter(pk__in=first, blocked=True).update(blocked=False, next_attempt_at=F("created"))


def record_results(sent: Sequence[Sent], failed: Sequence[Failed], *, in_order: bool) -> int:
    """Record what became of claimed events; return how many were no longer ours to change."""
    recorded = (mark_sent(sent, in_order=in_order) if sent else 0) + (
        mark_failed(failed) if failed else 0
    )
    return len(sent) + len(failed) - recorded


def mark_sent(events: Sequence[Sent], *, in_order: bool = False) -> int:
    """Note what SQS took, in one statement; return how many were still ours to note.

    ``in_order`` makes the next events of their objects due.
    """
    values = _values("(CAST(%s AS bigint), %s, %s)", len(events))
    parameters: list[_Parameter] = []
    for event in events:
        parameters += [event.event_id, event.lease, event.message_id]
    if not in_order:
        return _execute(_MARK_SENT, values, parameters)
    # In one transaction: no event may stay blocked by one that has been sent.
    with _transaction():
        marked = _execute(_MARK_SENT, values, parameters)
        _unblock_next([event.event_id for event in events])
    return marked


def mark_failed(events: Sequence[Failed]) -> int:
    """Note what SQS did not take, in one statement; return how many were still ours to note."""
    values = _values(
        "(CAST(%s AS bigint), %s, %s, CAST(%s AS integer), CAST(%s AS double precision), %s, %s, %s)",
        len(events),
    )
    parameters = [value for event in events for value in _row(event)]
    return _execute(_MARK_FAILED, values, parameters)


def release(events: Iterable[tuple[int, str]]) -> int:
    """Give back claimed events, by id and lease, that nobody tried to send."""
    by_lease: dict[str, list[int]] = {}
    for event_id, lease in events:
        by_lease.setdefault(lease, []).append(event_id)
    return sum(
        _events()
        .filter(pk__in=ids, lease=lease)
        .update(state=EventSync.State.PENDING, lease="", next_attempt_at=Now())
        for lease, ids in by_lease.items()
    )


def unblock_all() -> None:
    """Look at every blocked event again: what sent the one before it may not have unblocked it.

    A release before blocking did not, nor does anything for a queue that has ceased to be FIFO.
    """
    _events().filter(blocked=True, sent__isnull=True).update(
        blocked=False, next_attempt_at=F("created")
    )


def requeue(events: QuerySet[EventSync]) -> int:
    """Send these again, at once and with all attempts; what is being sent is left alone."""
    return events.exclude(state=EventSync.State.SENDING).update(
        state=EventSync.State.PENDING,
        attempts=0,
        lease="",
        sent=None,
        blocked=False,
        next_attempt_at=Now(),
    )


def prune(*, days: float, batch: int = 1000) -> int:
    """Delete what was sent so many days ago, some rows at a time; return how many there were."""
    old = _events().filter(state=EventSync.State.SENT, sent__lt=Now() - timedelta(days=days))
    deleted = 0
    while ids := list(old.order_by("sent").values_list("pk", flat=True)[:batch]):
        deleted += old.filter(pk__in=ids).delete()[0]
    return deleted


def _events() -> QuerySet[EventSync]:
    return EventSync.objects.using(outbox_connection().alias)


def _due() -> QuerySet[EventSync]:
    # Not "is in these states": without statistics, a database may take that for a rare case,
    # and reads the whole table instead of the first rows of the index.
    done = [EventSync.State.SENT, EventSync.State.DEAD]
    return _events().exclude(state__in=done).filter(next_attempt_at__lte=Now())


def _transaction() -> transaction.Atomic:
    return transaction.atomic(using=outbox_connection().alias)


def _take_in_order(due: QuerySet[EventSync]) -> list[int]:
    """Return which of these locked events may leave together, and block the others."""
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
    """Have these events wait until the one before each of them is sent.

    That one is locked meanwhile: whoever records that it was sent comes after this transaction,
    and finds what is blocked. If it is not to be had now, the event just stays due.
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
    """Unblock the objects of these events, as far as there is anything to unblock."""
    unsent = EventSync.objects.filter(obj_key=OuterRef("obj_key"), sent__isnull=True)
    next_is_blocked = Subquery(unsent.order_by("pk").values("blocked")[:1])
    rows = _events().filter(pk__in=sent_ids).order_by().values_list("obj_key", next_is_blocked)
    unblock({obj_key for obj_key, is_blocked in rows if is_blocked})


def _row(event: Failed) -> tuple[_Parameter, ...]:
    state = EventSync.State.DEAD if event.dead else EventSync.State.PENDING
    return (
        event.event_id,
        event.lease,
        state.value,
        event.attempts,
        event.wait,
        event.message_id,
        event.error,
        event.remark,
    )


def _values(row: str, count: int) -> str:
    return ", ".join([row] * count)


def _execute(statement: str, values: str, parameters: Sequence[_Parameter]) -> int:
    connection = outbox_connection()
    dialect = dialect_of(connection)
    sql = statement.format(
        table=_TABLE,
        values=values,
        now=dialect.now,
        later=dialect.later.format(seconds="failed.wait"),
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return len(cursor.fetchall())
