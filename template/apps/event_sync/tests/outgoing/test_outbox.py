"""Claims, leases and results of events."""

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox
from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.outbox import LEASE
from apps.event_sync.outgoing.retry import MAX_ATTEMPTS
from apps.event_sync.outgoing.status import check_event_sync, get_status
from apps.event_sync.tests.logs import logged
from apps.event_sync.tests.outgoing.helpers import State, states, store

pytestmark = pytest.mark.django_db


def pass_time(seconds: float) -> None:
    """Move the times of all events into the past."""
    EventSync.objects.update(
        next_attempt_at=F("next_attempt_at") - timedelta(seconds=seconds),
        created=F("created") - timedelta(seconds=seconds),
        sent=F("sent") - timedelta(seconds=seconds),
    )


def send(*events: EventSync, in_order: bool = False) -> int:
    """Record events of one claim as sent, and return how many of them were still held."""
    answer = Answer(accepted={event.pk: f"id-{event.pk}" for event in events})
    return outbox.record(events, answer, in_order=in_order)["sent"]


def refuse(event: EventSync, *, dead: bool = False) -> int:
    """Record a refusal, the last one if the event is dead, and return 1 if it was still held."""
    event.attempts = MAX_ATTEMPTS - 1 if dead else event.attempts
    answer = Answer(refused={event.pk: "no"})
    return outbox.record([event], answer, in_order=False)["failed"]


def release(*events: EventSync) -> None:
    outbox.record(events, Answer(), in_order=False)


def test_a_claim_takes_a_due_event() -> None:
    event = store()
    (claimed,) = outbox.claim(10)
    assert claimed == event
    assert (claimed.apps, claimed.obj_data) == ({"target": ["billing"]}, {"id": 1})
    event.refresh_from_db()
    assert (event.state, event.lease) == (State.SENDING, claimed.lease)
    assert len(event.lease) == 32
    assert outbox.claim(10) == []


def test_a_claim_respects_its_limit() -> None:
    events = [store(number) for number in range(5)]
    assert outbox.claim(2) == events[:2]
    assert outbox.claim(10) == events[2:]


def test_a_claim_can_be_restricted_to_ids() -> None:
    events = [store(number) for number in range(3)]
    assert outbox.claim(10, only=[events[2].pk, events[0].pk, 10**9]) == [events[0], events[2]]
    assert outbox.claim(10, only=[events[0].pk]) == []


def test_only_due_events_are_claimed() -> None:
    store(1, state=State.SENT)
    store(2, state=State.DEAD)
    later = store(3)
    EventSync.objects.filter(pk=later.pk).update(next_attempt_at=Now() + timedelta(seconds=30))
    assert outbox.claim(10) == []
    pass_time(31)
    assert outbox.claim(10) == [later]


def test_the_event_that_is_due_for_longest_is_claimed_first() -> None:
    retried, new = store(1), store(2)
    EventSync.objects.filter(pk=new.pk).update(next_attempt_at=Now() - timedelta(seconds=30))
    assert outbox.claim(1) == [new]
    assert outbox.claim(1) == [retried]


def test_an_event_is_claimed_again_after_its_lease_expired() -> None:
    event = store()
    (first,) = outbox.claim(10)
    pass_time(LEASE - 5)
    assert outbox.claim(10) == []
    pass_time(6)
    (second,) = outbox.claim(10)
    assert second == event
    assert second.lease != first.lease
    assert second.attempts == 0


def test_a_relay_whose_lease_expired_changes_nothing() -> None:
    store()
    (slow,) = outbox.claim(10)
    pass_time(LEASE + 1)
    (quick,) = outbox.claim(10)
    assert send(slow) == 0
    assert refuse(slow) == 0
    release(slow)
    assert states(slow) == [State.SENDING]
    assert send(quick) == 1
    # Nor after the event was sent.
    assert refuse(slow) == 0
    assert states(slow) == [State.SENT]


@pytest.mark.parametrize(
    ("broken", "in_order"), [("after_failure", False), ("_unblock_next", True)]
)
def test_results_are_recorded_all_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, broken: str, *, in_order: bool
) -> None:
    def fail(*_arguments: object) -> None:
        raise OperationalError

    sent, refused = store(1), store(2)
    events = outbox.claim(10)
    answer = Answer(accepted={sent.pk: "m1"}, refused={} if in_order else {refused.pk: "no"})
    monkeypatch.setattr(outbox, broken, fail)
    with pytest.raises(OperationalError):
        outbox.record(events[:1] if in_order else events, answer, in_order=in_order)
    assert states(sent, refused) == [State.SENDING] * 2


def test_events_without_an_attempt_left_are_counted() -> None:
    store(1)
    store(2)
    events = outbox.claim(10)
    for event in events:
        event.attempts = MAX_ATTEMPTS - 1
    answer = Answer(refused={event.pk: "no" for event in events})
    assert outbox.record(events, answer, in_order=False) == {"failed": 2, "dead": 2}


def test_many_results_are_recorded_at_once() -> None:
    for number in range(5):
        store(number)
    events = outbox.claim(10)
    pks = [event.pk for event in events]
    answer = Answer(
        accepted={pks[0]: "m0", pks[1]: "m1"}, refused={pks[2]: "no"}, unknown={pks[3]: "lost"}
    )
    assert outbox.record(events, answer, in_order=False) == {"sent": 2, "failed": 2}
    assert states(*events) == [State.SENT] * 2 + [State.PENDING] * 3
    _one, sent, refused, unknown, unsent = EventSync.objects.order_by("pk")
    assert (sent.message_id, sent.lease, sent.next_attempt_at) == ("m1", "", None)
    assert sent.sent is not None
    assert abs(sent.sent - timezone.now()) < timedelta(minutes=1)
    assert (refused.attempts, refused.last_error) == (1, "no")
    assert refused.log == "Attempt 1 was refused. no\n"
    assert refused.next_attempt_at is not None
    assert refused.next_attempt_at > refused.created + timedelta(seconds=4)
    assert (unknown.attempts, unknown.last_error, unknown.log) == (0, "lost", "")
    assert (unsent.attempts, unsent.last_error, unsent.lease) == (0, "", "")


@pytest.mark.parametrize("dead", [False, True])
def test_results_are_logged(*, dead: bool, caplog: pytest.LogCaptureFixture) -> None:
    store()
    (event,) = outbox.claim(10)
    refuse(event, dead=dead)
    assert logged(caplog, "event_sync_lease_lost") == []
    refuse(event, dead=dead)
    line = {"event_id": str(event.pk), "error": "no"}
    assert logged(caplog, "event_sync_dead") == [line] * dead
    assert logged(caplog, "event_sync_lease_lost") == [{"events": "1"}]


def test_dead_events_are_not_claimed() -> None:
    store()
    (event,) = outbox.claim(10)
    refuse(event, dead=True)
    pass_time(10**6)
    assert outbox.claim(10) == []
    assert states(event) == [State.DEAD]


def test_each_refusal_is_added_to_the_log() -> None:
    store()
    for _attempt in range(2):
        (event,) = outbox.claim(10)
        refuse(event)
        pass_time(100)
    event.refresh_from_db()
    assert event.log == "Attempt 1 was refused. no\nAttempt 2 was refused. no\n"


def test_released_events_are_due() -> None:
    store()
    (event,) = outbox.claim(10)
    release(event)
    assert outbox.claim(10) == [event]


def test_events_of_one_object_are_claimed_together() -> None:
    events = [store(1), store(2), store(1, obj_cmd="delete")]
    assert outbox.claim(10, in_order=True) == events
    assert outbox.claim(10, in_order=True) == []


def test_at_most_one_batch_of_an_object_is_claimed() -> None:
    events = [store(1) for _ in range(25)]
    for start in (0, 10, 20):
        claimed = outbox.claim(100, in_order=True)
        assert claimed == events[start : start + 10]
        assert outbox.claim(100, in_order=True) == [], "the first of its object is being sent"
        send(*claimed, in_order=True)
    assert not EventSync.objects.filter(blocked=True).exists()


@pytest.mark.parametrize("only_the_second", [False, True])
def test_an_event_waits_for_an_earlier_one_of_its_object(*, only_the_second: bool) -> None:
    first, other = store(1), store(2)
    (claimed,) = outbox.claim(1, in_order=True)
    second = store(1)
    only = [second.pk] if only_the_second else None
    assert outbox.claim(10, in_order=True, only=only) == ([] if only_the_second else [other])
    second.refresh_from_db()
    assert second.blocked
    refuse(claimed)
    assert outbox.claim(10, in_order=True, only=only) == [], "the first of its object waits"
    pass_time(101)
    (again,) = outbox.claim(10, in_order=True, only=[first.pk])
    refuse(again, dead=True)
    assert outbox.claim(10, in_order=True, only=[second.pk]) == [], "the first of its object died"
    outbox.requeue(EventSync.objects.filter(pk=first.pk))
    (again,) = outbox.claim(10, in_order=True, only=[first.pk, second.pk])
    assert again == first
    send(again, in_order=True)
    assert outbox.claim(10, in_order=True, only=[second.pk]) == [second]


def test_blocked_events_are_not_read_again() -> None:
    """A claim reads as many rows as it is asked for, however many are blocked."""
    store(1, state=State.DEAD, next_attempt_at=None)
    for _ in range(30):
        store(1)
    other = store(2)
    claims = []
    while outbox.is_anything_due():
        claims.append(outbox.claim(10, in_order=True))
    assert claims == [[], [], [], [other]]
    assert EventSync.objects.filter(blocked=True).count() == 30


def test_an_event_whose_lease_expired_can_be_blocked() -> None:
    store(1)
    second = store(1)
    assert outbox.claim(10, only=[second.pk]) == [second]
    pass_time(LEASE + 1)
    assert outbox.claim(10, in_order=True, only=[second.pk]) == []
    second.refresh_from_db()
    assert (second.state, second.lease, second.blocked) == (State.PENDING, "", True)


def test_unblock_all_makes_blocked_events_due() -> None:
    _first, second = store(1), store(1)
    (claimed,) = outbox.claim(1, in_order=True)
    assert outbox.claim(10, in_order=True) == []
    send(claimed, in_order=False)
    assert outbox.claim(10, in_order=True) == []
    waiting = store(2, next_attempt_at=timezone.now() + timedelta(days=1))
    outbox.unblock_all()
    assert not EventSync.objects.filter(blocked=True).exists()
    assert outbox.claim(10, in_order=True) == [second]
    assert states(waiting) == [State.PENDING]


def test_unblocked_events_are_claimed_before_later_events_of_other_objects() -> None:
    first, second = store(1), store(1)
    (claimed,) = outbox.claim(1, in_order=True)
    assert outbox.claim(10, in_order=True) == []
    store(2)
    send(claimed, in_order=True)
    assert claimed == first
    assert outbox.claim(1, in_order=True) == [second]


def test_a_blocked_event_is_due_after_a_while_if_the_earlier_one_was_deleted() -> None:
    first, second = store(1, state=State.DEAD, next_attempt_at=None), store(1)
    assert outbox.claim(10, in_order=True) == []
    first.delete()
    assert outbox.claim(10, in_order=True) == []
    pass_time(outbox.BLOCKED + 1)
    assert outbox.claim(10, in_order=True) == [second]
    second.refresh_from_db()
    assert not second.blocked


def test_a_waiting_event_holds_back_later_events_of_its_object() -> None:
    first, _second, _third = (
        store(1),
        store(1, next_attempt_at=timezone.now() + timedelta(days=1)),
        store(1),
    )
    assert outbox.claim(10, in_order=True) == [first]


def test_requeued_events_are_due_with_all_attempts() -> None:
    sent, dead, pending, sending = (
        store(1, state=State.SENT, sent=timezone.now(), next_attempt_at=None),
        store(2, state=State.DEAD, next_attempt_at=None, attempts=12),
        store(3, next_attempt_at=timezone.now() + timedelta(days=1), attempts=3),
        store(4, state=State.SENDING, lease="x", next_attempt_at=timezone.now() + timedelta(1)),
    )
    assert outbox.requeue(EventSync.objects.all()) == 3
    assert outbox.claim(10) == [sent, dead, pending]
    assert set(EventSync.objects.values_list("attempts", flat=True)) == {0}
    sending.refresh_from_db()
    assert sending.lease == "x"
    sent.refresh_from_db()
    assert sent.sent is None, "it holds back later events of its object again"


def test_old_sent_events_are_pruned() -> None:
    old = [
        store(number, state=State.SENT, sent=timezone.now() - timedelta(days=31))
        for number in range(5)
    ]
    young = store(6, state=State.SENT, sent=timezone.now() - timedelta(days=29))
    unsent = store(7, state=State.DEAD), store(8)
    pass_time(0)
    assert outbox.prune(days=30, batch=2) == len(old)
    assert set(EventSync.objects.all()) == {young, *unsent}


def test_the_status_counts_unsent_events_and_warns_of_late_ones() -> None:
    assert get_status() == {"pending": 0, "dead": 0, "oldest_pending_seconds": 0}
    assert check_event_sync() == "ok"
    store(1)
    pass_time(200)
    store(2, state=State.SENDING)
    store(3, state=State.SENT)
    status = get_status()
    assert (status["pending"], status["dead"]) == (2, 0)
    assert 200 <= status["oldest_pending_seconds"] < 260
    assert check_event_sync() == "ok"
    pass_time(200)
    assert check_event_sync() == "warning"


def test_an_unknown_status_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(QuerySet, "exists", fail)
    assert check_event_sync() == "warning"
    assert logged(caplog, "event_sync_status_unknown") == [{"error": "gone"}]


def test_a_dead_event_is_a_warning() -> None:
    store(1, state=State.DEAD)
    assert get_status() == {"pending": 0, "dead": 1, "oldest_pending_seconds": 0}
    assert check_event_sync() == "warning"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_order", [False, True])
def test_concurrent_claims_take_each_event_once(*, in_order: bool) -> None:
    """Also in order, and without an event that stays blocked."""
    for number in range(90):
        store(number % 6)
    claims: list[EventSync] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait()
            while EventSync.objects.exclude(state=State.SENT).exists():
                events = outbox.claim(5, in_order=in_order)
                claims.extend(events)
                if events:
                    send(*events, in_order=in_order)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(claims) == len({event.pk for event in claims}) == 90
    if in_order:
        for obj_key in {event.obj_key for event in claims}:
            ids = [event.pk for event in claims if event.obj_key == obj_key]
            assert ids == sorted(ids)


@pytest.mark.django_db(transaction=True)
def test_events_from_before_the_blocked_column_keep_their_order() -> None:
    initial = ("event_sync", "0001_initial")
    latest = MigrationExecutor(connection).loader.graph.leaf_nodes("event_sync")
    MigrationExecutor(connection).migrate([initial])
    try:
        state = MigrationExecutor(connection).loader.project_state([initial])
        old = state.apps.get_model("event_sync", "EventSync")
        # An event that is to be sent again, and one behind it.
        again = old.objects.create(obj_type="a", obj_key="a", obj_cmd="put", sent=timezone.now())
        second = old.objects.create(obj_type="a", obj_key="a", obj_cmd="put")
    finally:
        MigrationExecutor(connection).migrate(latest)
    (claimed,) = outbox.claim(1, in_order=True)
    assert claimed.pk == again.pk
    assert outbox.claim(10, in_order=True) == []
    send(claimed, in_order=True)
    assert [event.pk for event in outbox.claim(10, in_order=True)] == [second.pk]
