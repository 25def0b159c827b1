"""Events are stored in the caller's transaction, and sent when it commits."""

import datetime
import json
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import after_commit, messages, sending
from apps.event_sync.outgoing.messages import MAX_BYTES, EventRefusedError
from apps.event_sync.tests.outgoing.helpers import (
    PATIENCE,
    Network,
    State,
    produce,
    received,
    received_ids,
    states,
    store,
)
from common.sqs.sqs_sync import sqs_client

pytestmark = pytest.mark.django_db

# Tests that need a real commit.
real_commits = pytest.mark.django_db(transaction=True)

type Commit = Callable[[], AbstractContextManager[object]]


# The message


@real_commits
def test_the_message_has_the_agreed_format(queue_url: str) -> None:
    event = produce(
        apps={"target": ["billing", "crm"]}, obj_type="test_event_sync", obj_data={"foo": "bar"}
    )
    assert received(queue_url) == [
        {
            "apps": {"target": ["billing", "crm"]},
            "data": {
                "obj_type": "test_event_sync",
                "obj_data": {"foo": "bar", "event_id": event.pk},
                "obj_cmd": "put",
            },
            "timestamp": event.created.timestamp(),
        }
    ]
    assert event.state == State.SENT
    assert event.sent is not None
    assert event.message_id
    assert (event.lease, event.next_attempt_at, event.last_error) == ("", None, "")


def test_dates_decimals_and_uuids_are_sent_as_strings(queue_url: str, commit: Commit) -> None:
    number = uuid.uuid4()
    day = datetime.date(2026, 2, 28)
    with commit():
        produce(obj_data={"price": Decimal("1.10"), "number": number, "day": day, "ç": "日\ufffe"})
    (body,) = received(queue_url)
    del body["data"]["obj_data"]["event_id"]
    assert body["data"]["obj_data"] == {
        "price": "1.10",
        "number": str(number),
        "day": "2026-02-28",
        "ç": "日\ufffe",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("obj_data", {"x": float("nan")}),
        ("obj_data", {"x": float("inf")}),
        ("obj_data", {"x": "a\x00b"}),
        ("obj_data", {"a\x00b": 1}),
        ("obj_data", {"x": "\ud800"}),
        ("obj_data", {"x": object()}),
        ("obj_data", {"x": {1, 2}}),
        ("obj_data", {"x": b"bytes"}),
        ("obj_data", {(1, 2): "key"}),
        ("obj_data", {"event_id": 1}),
        ("obj_data", ["a", "list"]),
        ("obj_data", None),
        ("apps", {"target": {"a", "set"}}),
        ("apps", {"target": ["\x00"]}),
        ("obj_type", ""),
        ("obj_type", "a\x00b"),
        ("obj_type", "x" * 201),
        ("obj_type", None),
        ("obj_cmd", "post"),
        ("obj_cmd", "PUT"),
        ("obj_cmd", ""),
        ("obj_cmd", None),
        ("obj_cmd", ["put"]),
        ("obj_key", "x" * 256),
        ("obj_key", 5),
        ("obj_key", "a\x00b"),
    ],
)
def test_an_event_that_cannot_be_sent_is_refused(field: str, value: Any) -> None:
    with pytest.raises(EventRefusedError, match=f"^{field} "):
        produce(**{field: value})
    assert not EventSync.objects.exists()


def test_deeply_nested_data_are_refused() -> None:
    nested: dict[str, Any] = {}
    for _level in range(100_000):
        nested = {"x": nested}
    with pytest.raises(EventRefusedError, match="obj_data"):
        produce(obj_data=nested)


def test_an_escaped_backslash_before_u0000_is_accepted() -> None:
    event = produce(obj_data={"x": r"\u0000", "y": r"\\u0000"})
    assert event.obj_data == {"x": r"\u0000", "y": r"\\u0000"}
    with pytest.raises(EventRefusedError):
        produce(obj_data={"x": "\\\x00"})


def padded(size: int) -> dict[str, str]:
    """Return data whose message has this size with the longest event_id."""
    empty = EventSync(apps={}, obj_type="invoice", obj_data={"x": ""}, obj_cmd="put")
    envelope = messages._envelope(empty, messages.LONGEST_EVENT_ID, messages.LONGEST_TIMESTAMP)
    # Two bytes for each letter: bytes count, not characters.
    rest = size - len(json.dumps(envelope, separators=(",", ":")))
    return {"x": "é" * (rest // 2) + "x" * (rest % 2)}


def test_a_message_of_one_mebibyte_is_sent(queue_url: str, commit: Commit) -> None:
    with commit():
        event = produce(apps={}, obj_data=padded(MAX_BYTES))
    assert received_ids(queue_url) == [event.pk]


def test_a_message_of_more_than_one_mebibyte_is_refused() -> None:
    with pytest.raises(EventRefusedError, match="1048577 bytes"):
        produce(apps={}, obj_data=padded(MAX_BYTES + 1))
    assert not EventSync.objects.exists()


def test_later_changes_of_the_callers_data_have_no_effect(queue_url: str, commit: Commit) -> None:
    data = {"id": 1, "lines": [1]}
    with commit():
        event = produce(obj_data=data)
        data["lines"] = [2]
    (body,) = received(queue_url)
    assert body["data"]["obj_data"] == {"id": 1, "lines": [1], "event_id": event.pk}


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"obj_data": {"id": 5}}, "invoice:5"),
        ({"obj_data": {"id": "5a"}}, "invoice:5a"),
        ({"obj_data": {"id": 5}, "obj_key": "order:7"}, "order:7"),
    ],
)
def test_the_object_key_is_the_type_with_the_id(fields: dict[str, Any], key: str) -> None:
    assert produce(**fields).obj_key == key


@pytest.mark.parametrize("obj_data", [{}, {"id": None}])
def test_events_without_an_id_have_their_own_object_keys(
    obj_data: dict[str, Any], fifo_url: str, commit: Commit
) -> None:
    with commit():
        events = [produce(obj_data=obj_data) for _ in range(3)]
    assert len({event.obj_key for event in events}) == 3
    assert all(event.obj_key.startswith("invoice:") for event in events)
    assert received_ids(fifo_url) == [event.pk for event in events]


@pytest.mark.parametrize("length", [1, 200])
def test_a_type_has_up_to_200_characters(length: int) -> None:
    assert produce(obj_type="x" * length).obj_type == "x" * length


def test_an_object_key_of_255_characters_is_kept() -> None:
    assert produce(obj_data={"id": "x" * 247}).obj_key == "invoice:" + "x" * 247


def test_a_long_object_key_is_hashed() -> None:
    one, other = (produce(obj_data={"id": "x" * 300 + end}).obj_key for end in "ab")
    assert len(one) == len(other) == 64
    assert one != other


# The transaction


def produce_and_fail(number: int = 1) -> None:
    with transaction.atomic():
        produce(number)
        raise LookupError


@real_commits
def test_nothing_is_sent_before_the_commit(queue_url: str) -> None:
    with transaction.atomic():
        event = produce()
        assert received_ids(queue_url) == []
    assert received_ids(queue_url) == [event.pk]


@real_commits
def test_nothing_is_sent_after_a_rollback(queue_url: str) -> None:
    with pytest.raises(LookupError):
        produce_and_fail()
    assert not EventSync.objects.exists()
    assert received_ids(queue_url) == []
    # Nor after the next transaction of this thread.
    event = produce(2)
    assert received_ids(queue_url) == [event.pk]


def test_ids_of_rolled_back_events_do_not_accumulate() -> None:
    assert after_commit._Thread().event_ids.maxlen == 100


@real_commits
def test_only_events_of_a_savepoint_that_is_rolled_back_are_discarded(queue_url: str) -> None:
    with transaction.atomic():
        first = produce(1)
        with pytest.raises(LookupError):
            produce_and_fail(2)
        third = produce(3)
    assert received_ids(queue_url) == [first.pk, third.pk]


@real_commits
def test_events_after_a_savepoint_that_was_rolled_back_are_sent(queue_url: str) -> None:
    with transaction.atomic():
        with pytest.raises(LookupError):
            produce_and_fail(1)
        second = produce(2)
    assert received_ids(queue_url) == [second.pk]


def test_events_of_one_transaction_are_sent_in_one_request(
    queue_url: str, sqs: Network, commit: Commit
) -> None:
    requests = sqs.requests
    with commit():
        events = [produce(number) for number in range(12)]
    assert sqs.requests == requests + 1
    assert received_ids(queue_url) == [event.pk for event in events[:10]]
    assert list(EventSync.objects.filter(state=State.PENDING)) == events[:9:-1]


def test_events_that_do_not_fit_into_one_request_wait_for_the_relay(
    queue_url: str, commit: Commit
) -> None:
    with commit():
        for number in range(3):
            produce(number, obj_data={"x": "x" * 400_000})
    assert len(received_ids(queue_url)) == 2
    (left,) = EventSync.objects.exclude(state=State.SENT)
    assert (left.state, left.lease, left.attempts) == (State.PENDING, "", 0)


@real_commits
def test_sending_costs_five_queries(
    queue_url: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    # BEGIN, INSERT, COMMIT; then BEGIN, SELECT, UPDATE, COMMIT for the claim, and the result.
    with django_assert_num_queries(3 + 5), transaction.atomic():
        produce()


# Failures


@pytest.mark.parametrize(
    "fault", ["down", "throttled", "forbidden", "no ids", "lost answer", "slow answer"]
)
def test_a_failure_to_send_does_not_reach_the_caller(
    fault: Any, queue_url: str, sqs: Network, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(after_commit, "READ_TIMEOUT", PATIENCE)
    sqs.fault = fault
    with commit():
        event = produce()
    event.refresh_from_db()
    assert (event.state, event.sent, event.attempts) == (State.PENDING, None, 0)
    assert (event.lease, event.message_id) == ("", "")
    assert event.last_error


def test_requests_do_not_wait_for_sqs_after_a_failure(
    queue_url: str, sqs: Network, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs.fault = "down"
    with commit():
        first = produce(1)
    assert "503" in after_commit.outage.error
    requests = sqs.requests
    sqs.fault = ""
    with commit():
        second = produce(2)
    assert sqs.requests == requests
    monkeypatch.setattr(after_commit.outage, "_until", 0.0)
    with commit():
        third = produce(3)
    assert states(first, second, third) == [State.PENDING, State.PENDING, State.SENT]


def test_a_commit_uses_the_client_of_the_queue_with_short_time_outs(
    queue_url: str, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def client(url: str, **time_outs: float) -> Any:
        asked.append((url, time_outs))
        return sqs_client(url, **time_outs)

    monkeypatch.setattr(after_commit, "sqs_client", client)
    with commit():
        produce()
    assert asked == [(queue_url, {"connect_timeout": 1, "read_timeout": 2})]


def test_a_commit_makes_the_next_event_of_the_object_due(fifo_url: str, commit: Commit) -> None:
    with commit():
        produce()
        later = timezone.now() + datetime.timedelta(hours=1)
        following = store(blocked=True, next_attempt_at=later)
    following.refresh_from_db()
    assert not following.blocked
    assert following.next_attempt_at == following.created


@real_commits
def test_an_error_in_the_commit_hook_does_not_reach_the_caller(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(after_commit, "send_batch", fail)
    assert produce().state == State.SENDING  # Until the lease ends.


def test_sending_can_be_left_to_the_relay(
    queue_url: str, sqs: Network, commit: Commit, settings: Settings
) -> None:
    settings.EVENT_SYNC_SEND_AT_COMMIT = False
    requests = sqs.requests
    with commit():
        event = produce()
    assert sqs.requests == requests
    assert states(event) == [State.PENDING]


def test_events_wait_if_there_is_no_queue(commit: Commit) -> None:
    with commit():
        event = produce()
    assert states(event) == [State.PENDING]


def test_events_of_one_object_are_sent_together_in_order(
    fifo_url: str, sqs: Network, commit: Commit
) -> None:
    requests = sqs.requests
    with commit():
        events = [produce(1), produce(1, obj_cmd="delete"), produce(2)]
    assert sqs.requests == requests + 1
    assert received_ids(fifo_url) == [event.pk for event in events]


def test_an_event_is_not_sent_at_commit_before_an_unsent_one_of_its_object(
    fifo_url: str, commit: Commit
) -> None:
    dead = store(1, state=State.DEAD, next_attempt_at=None)
    with commit():
        second, other = produce(obj_data={"id": 1}), produce(2)
    assert received_ids(fifo_url) == [other.pk]
    assert states(dead, second) == [State.DEAD, State.PENDING]


@real_commits
def test_no_transaction_is_open_during_a_request_to_sqs(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(*args: Any) -> Any:
        seen.append(connection.in_atomic_block)
        return sending.send_batch(*args)

    monkeypatch.setattr(after_commit, "send_batch", look)
    with transaction.atomic():
        produce()
    assert seen == [False]
