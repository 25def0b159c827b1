"""Who holds an event, for how long, and what becomes of it."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from apps.event_sync import outbox
from apps.event_sync.models import EventSync
from apps.event_sync.outbox import LEASE, Failed, Sent
from apps.event_sync.status import Status, check_event_sync, get_status
from apps.event_sync.tests.outgoing import State, states, store

pytestmark = pytest.mark.django_db


def pass_time(seconds: float) -> None:
    """Let the database be so much later for all events."""
    EventSync.objects.update(
        next_attempt_at=F("next_attempt_at") - timedelta(seconds=seconds),
        created=F("created") - timedelta(seconds=seconds),
        sent=F("sent") - timedelta(seconds=seconds),
    )


def taken(event: EventSync) -> Sent:
    return Sent(event_id=event.pk, lease=event.lease, message_id=f"id-{event.pk}")


def refused(event: EventSync, *, wait: float = 10, dead: bool = False) -> Failed:
    return Failed(
        event_id=event.pk,
        lease=event.lease,
        dead=dead,
        attempts=event.attempts + 1,
        wait=wait,
        error="no",
        remark="It was refused.\n",
    )


def test_a_claim() -> None:
    event = store()
    (claimed,) = outbox.claim(10)
    assert claimed == event
    assert (claimed.apps, claimed.obj_data) == ({"target": ["billing"]}, {"id": 1})
    event.refresh_from_db()
    assert (event.state, event.lease) == (State.SENDING, claimed.lease)
    assert len(event.lease) == 32
    assert outbox.claim(10) == []


def test_a_claim_takes_no_more_than_asked() -> None:
    events = [store(number) for number in range(5)]
    assert outbox.claim(2) == events[:2]
    assert outbox.claim(10) == events[2:]


def test_a_claim_of_some_ids() -> None:
    events = [store(number) for number in range(3)]
    assert outbox.claim(10, only=[events[2].pk, events[0].pk, 10**9]) == [events[0], events[2]]
    assert outbox.claim(10, only=[events[0].pk]) == []


def test_what_is_not_due_is_not_claimed() -> None:
    store(1, state=State.SENT)
    store(2, state=State.DEAD)
    later = store(3)
    EventSync.objects.filter(pk=later.pk).update(next_attempt_at=Now() + timedelta(seconds=30))
    assert outbox.claim(10) == []
    pass_time(31)
    assert outbox.claim(10) == [later]


def test_the_lease_of_a_relay_that_died_runs_out() -> None:
    event = store()
    (first,) = outbox.claim(10)
    pass_time(LEASE - 5)
    assert outbox.claim(10) == []
    pass_time(6)
    (second,) = outbox.claim(10)
    assert second == event
    assert second.lease != first.lease
    assert second.attempts == 0


def test_who_was_too_slow_changes_nothing_any_more() -> None:
    store()
    (slow,) = outbox.claim(10)
    pass_time(LEASE + 1)
    (quick,) = outbox.claim(10)
    assert outbox.mark_sent([taken(slow)]) == 0
    assert outbox.mark_failed([refused(slow)]) == 0
    assert outbox.release([(slow.pk, slow.lease)]) == 0
    assert states(slow) == [State.SENDING]
    assert outbox.mark_sent([taken(quick)]) == 1
    # And when the event was sent meanwhile.
    assert outbox.mark_failed([refused(slow)]) == 0
    assert states(slow) == [State.SENT]


def test_marking_many() -> None:
    for number in range(4):
        store(number)
    events = outbox.claim(10)
    assert outbox.note([taken(event) for event in events[:2]], [refused(events[2])]) == 0
    assert states(*events) == [State.SENT, State.SENT, State.PENDING, State.SENDING]
    sent, failed = EventSync.objects.get(pk=events[1].pk), EventSync.objects.get(pk=events[2].pk)
    assert (sent.message_id, sent.lease, sent.next_attempt_at) == (f"id-{sent.pk}", "", None)
    assert sent.sent is not None
    assert abs(sent.sent - timezone.now()) < timedelta(minutes=1)
    assert (failed.attempts, failed.last_error, failed.log) == (1, "no", "It was refused.\n")
    assert failed.next_attempt_at is not None
    assert failed.next_attempt_at > failed.created + timedelta(seconds=9)


def test_the_dead_are_not_tried_any_more() -> None:
    store()
    (event,) = outbox.claim(10)
    outbox.mark_failed([refused(event, dead=True)])
    pass_time(10**6)
    assert outbox.claim(10) == []
    assert states(event) == [State.DEAD]


def test_every_refusal_is_in_the_log() -> None:
    store()
    for _attempt in range(2):
        (event,) = outbox.claim(10)
        outbox.mark_failed([refused(event, wait=0)])
    event.refresh_from_db()
    assert event.log == "It was refused.\n" * 2


def test_what_is_given_back_is_due() -> None:
    store()
    (event,) = outbox.claim(10)
    assert outbox.release([(event.pk, event.lease)]) == 1
    assert outbox.claim(10) == [event]


def test_the_order_of_an_object() -> None:
    first, second, other = store(1), store(1, obj_cmd="delete"), store(2)
    assert outbox.claim(10, in_order=True) == [first, other]
    assert outbox.claim(10, in_order=True) == []
    (claimed,) = EventSync.objects.filter(pk=first.pk)
    outbox.mark_failed([refused(claimed, wait=100)])
    assert outbox.claim(10, in_order=True) == [], "the first of its object waits"
    pass_time(101)
    (again,) = outbox.claim(10, in_order=True, only=[first.pk, second.pk])
    assert again == first
    outbox.mark_failed([refused(again, dead=True)])
    assert outbox.claim(10, in_order=True, only=[second.pk]) == [], "the first of its object died"
    outbox.requeue(EventSync.objects.filter(pk=first.pk))
    (again,) = outbox.claim(10, in_order=True, only=[first.pk, second.pk])
    outbox.mark_sent([taken(again)])
    assert outbox.claim(10, in_order=True, only=[second.pk]) == [second]


def test_requeueing() -> None:
    sent, dead, pending, sending = (
        store(1, state=State.SENT, next_attempt_at=None),
        store(2, state=State.DEAD, next_attempt_at=None, attempts=12),
        store(3, next_attempt_at=timezone.now() + timedelta(days=1), attempts=3),
        store(4, state=State.SENDING, lease="x", next_attempt_at=timezone.now() + timedelta(1)),
    )
    assert outbox.requeue(EventSync.objects.all()) == 3
    assert outbox.claim(10) == [sent, dead, pending]
    assert set(EventSync.objects.values_list("attempts", flat=True)) == {0}
    sending.refresh_from_db()
    assert sending.lease == "x"


def test_pruning() -> None:
    old = [
        store(number, state=State.SENT, sent=timezone.now() - timedelta(days=31))
        for number in range(5)
    ]
    young = store(6, state=State.SENT, sent=timezone.now() - timedelta(days=29))
    unsent = store(7, state=State.DEAD), store(8)
    pass_time(0)
    assert outbox.prune(days=30, batch=2) == len(old)
    assert set(EventSync.objects.all()) == {young, *unsent}


def test_the_status() -> None:
    assert get_status() == Status(pending=0, dead=0, oldest_pending_seconds=0)
    assert check_event_sync() == "ok"
    store(1)
    pass_time(200)
    store(2, state=State.SENDING)
    store(3, state=State.SENT)
    status = get_status()
    assert (status.pending, status.dead) == (2, 0)
    assert 200 <= status.oldest_pending_seconds < 260
    assert check_event_sync() == "ok"
    pass_time(200)
    assert check_event_sync() == "warning"


def test_a_dead_event_is_a_warning() -> None:
    store(1, state=State.DEAD)
    assert get_status() == Status(pending=0, dead=1, oldest_pending_seconds=0)
    assert check_event_sync() == "warning"


@pytest.mark.django_db(transaction=True)
def test_many_claim_each_event_once() -> None:
    for number in range(60):
        store(number)
    claims: Counter[int] = Counter()
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait()
            while events := outbox.claim(5):
                claims.update(event.pk for event in events)
                outbox.mark_sent([taken(event) for event in events])
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(claims) == 60
    assert set(claims.values()) == {1}
    assert set(EventSync.objects.values_list("state", flat=True)) == {State.SENT}
