"""How often an event is sent, and how long it waits in between."""

from datetime import timedelta
from typing import Any

import pytest

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox, retry
from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.retry import MAX_ATTEMPTS
from apps.event_sync.tests.outgoing.helpers import State, store

pytestmark = pytest.mark.django_db


def fail(attempts: int, **answer: Any) -> EventSync:
    """Record a failure of an event that was refused so many times, and return the event."""
    store(attempts=attempts)
    (event,) = outbox.claim(1)
    results = {kind: {event.pk: value} for kind, value in answer.items() if kind != "outage"}
    outbox.record([event], Answer(outage=answer.get("outage", ""), **results), in_order=False)
    event.refresh_from_db()
    return event


def test_a_refusal_counts_as_an_attempt() -> None:
    event = fail(2, refused="odd")
    assert (event.state, event.attempts, event.last_error) == (State.PENDING, 3, "odd")
    assert event.log == "Attempt 3 was refused. odd\n"


def test_waits_between_refusals_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float, float]] = []

    def backoff(failures: int, *, first: float, longest: float) -> float:
        asked.append((failures, first, longest))
        return 1000

    monkeypatch.setattr(retry, "backoff", backoff)
    event = fail(4, refused="odd")
    assert asked == [(5, 10, 3600)]
    assert event.next_attempt_at is not None
    assert timedelta(0) <= event.next_attempt_at - event.created - timedelta(seconds=1000)


def test_an_event_is_dead_after_the_last_refusal() -> None:
    assert fail(MAX_ATTEMPTS - 2, refused="odd").state == State.PENDING
    event = fail(MAX_ATTEMPTS - 1, refused="odd")
    assert (event.state, event.next_attempt_at) == (State.DEAD, None)


@pytest.mark.parametrize("outage", ["", "no answer"])
def test_an_unknown_result_does_not_count_as_an_attempt(outage: str) -> None:
    event = fail(MAX_ATTEMPTS - 1, unknown="no answer", outage=outage)
    assert (event.state, event.attempts, event.log) == (State.PENDING, MAX_ATTEMPTS - 1, "")
    assert event.last_error == "no answer"
    # In an outage the relay waits, not the event.
    is_due = [due.pk for due in outbox.claim(10)] == [event.pk]
    assert is_due == bool(outage)


def test_long_errors_are_cut() -> None:
    for result in ("refused", "unknown"):
        assert fail(0, **{result: "x" * 2000}).last_error == "x" * 1000
        EventSync.objects.all().delete()
