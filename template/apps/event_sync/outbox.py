"""The states of an event, and who may change them.

    pending -> sending -> sent
       ^          |
       +----------+-----> dead

A claim takes due events for the time of a lease, in one statement, so that any number of relays
never hold the same event at once. What a claim took, only its holder may change: a relay that
was too slow, and whose event another has claimed since, changes nothing any more. A relay that
dies loses nothing: its lease runs out. All times are the database's; no other clock counts.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.event_sync.models import EventSync
from apps.event_sync.sql import dialect_of

# Seconds that a claim holds: several times what the slowest request may take.
LEASE = 60

_TABLE = EventSync._meta.db_table  # noqa: SLF001 - Django documents it

_CLAIM = """
UPDATE {table} SET state = 'sending', lease = %s, next_attempt_at = {later}
WHERE {one_of}
RETURNING id, apps, obj_type, obj_data, obj_cmd, obj_key, created, attempts, lease
"""
_DUE = """
SELECT id FROM {table} AS event
WHERE state IN ('pending', 'sending') AND next_attempt_at <= {now} {among} {first}
ORDER BY next_attempt_at, id LIMIT %s {skip_locked}
"""
# Nothing of the same object before it waits, or has died.
_FIRST_OF_ITS_OBJECT = """
AND NOT EXISTS (
    SELECT 1 FROM {table} AS earlier
    WHERE earlier.obj_key = event.obj_key AND earlier.id < event.id
    AND earlier.state IN ('pending', 'sending', 'dead')
)
"""
_MARK_SENT = """
WITH taken (event_id, held, message_id) AS (VALUES {values})
UPDATE {table} AS event
SET state = 'sent', sent = {now}, message_id = taken.message_id,
    lease = '', next_attempt_at = NULL, last_error = ''
FROM taken WHERE id = event_id AND lease = held
RETURNING id
"""
_MARK_FAILED = """
WITH failed (event_id, held, state, attempts, wait, error, remark) AS (VALUES {values})
UPDATE {table} AS event
SET state = failed.state, attempts = failed.attempts, lease = '',
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
    error: str
    remark: str


def outbox_connection() -> BaseDatabaseWrapper:
    """Return this thread's connection to the database that holds the events."""
    return connections[router.db_for_write(EventSync)]


def claim(
    limit: int, *, in_order: bool = False, only: Sequence[int] | None = None
) -> list[EventSync]:
    """Take up to so many due events for ``LEASE`` seconds, in the order of their ids.

    ``in_order`` takes of each object the first that is not sent, and none while that may not
    be tried; ``only`` takes none but these ids.
    """
    connection = outbox_connection()
    dialect = dialect_of(connection)
    among = f"AND id IN ({', '.join(['%s'] * len(only))})" if only is not None else ""
    due = _DUE.format(
        table=_TABLE,
        now=dialect.now,
        among=among,
        first=_FIRST_OF_ITS_OBJECT.format(table=_TABLE) if in_order else "",
        skip_locked=dialect.skip_locked,
    )
    statement = _CLAIM.format(
        table=_TABLE,
        later=dialect.later.format(seconds="%s"),
        one_of=dialect.one_of.format(query=due),
    )
    parameters = [uuid.uuid4().hex, LEASE, *(only or ()), limit]
    events = EventSync.objects.using(connection.alias).raw(statement, parameters)
    return sorted(events, key=lambda event: event.pk)


def note(sent: Sequence[Sent], failed: Sequence[Failed]) -> int:
    """Note what became of claimed events; return how many were no longer ours to note."""
    noted = (mark_sent(sent) if sent else 0) + (mark_failed(failed) if failed else 0)
    return len(sent) + len(failed) - noted


def mark_sent(events: Sequence[Sent]) -> int:
    """Note what SQS took, in one statement; return how many were still ours to note."""
    values = _values("(CAST(%s AS bigint), %s, %s)", len(events))
    parameters: list[_Parameter] = []
    for event in events:
        parameters += [event.event_id, event.lease, event.message_id]
    return _execute(_MARK_SENT, values, parameters)


def mark_failed(events: Sequence[Failed]) -> int:
    """Note what SQS did not take, in one statement; return how many were still ours to note."""
    values = _values(
        "(CAST(%s AS bigint), %s, %s, CAST(%s AS integer), CAST(%s AS double precision), %s, %s)",
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
        EventSync.objects.using(outbox_connection().alias)
        .filter(pk__in=ids, lease=lease)
        .update(state=EventSync.State.PENDING, lease="", next_attempt_at=Now())
        for lease, ids in by_lease.items()
    )


def requeue(events: QuerySet[EventSync]) -> int:
    """Send these again, at once and with all attempts; what is being sent is left alone."""
    return events.exclude(state=EventSync.State.SENDING).update(
        state=EventSync.State.PENDING, attempts=0, lease="", next_attempt_at=Now()
    )


def prune(*, days: float, batch: int = 1000) -> int:
    """Delete what was sent so many days ago, some rows at a time; return how many there were."""
    old = EventSync.objects.using(outbox_connection().alias).filter(
        state=EventSync.State.SENT, sent__lt=Now() - timedelta(days=days)
    )
    deleted = 0
    while ids := list(old.order_by("sent").values_list("pk", flat=True)[:batch]):
        deleted += old.filter(pk__in=ids).delete()[0]
    return deleted


def _row(event: Failed) -> tuple[_Parameter, ...]:
    state = EventSync.State.DEAD if event.dead else EventSync.State.PENDING
    return (
        *(event.event_id, event.lease, state.value, event.attempts, event.wait),
        *(event.error, event.remark),
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
