"""The relay, with moto's server and a network that fails."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from apps.event_sync import outage
from apps.event_sync.management.commands import event_sync_setup
from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox, relay, sending
from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.messages import MAX_BATCH
from apps.event_sync.outgoing.relay import Relay
from apps.event_sync.outgoing.retry import MAX_ATTEMPTS
from apps.event_sync.tests.logs import logged
from apps.event_sync.tests.outgoing.helpers import (
    PATIENCE,
    Fault,
    Network,
    State,
    received_ids,
    states,
    store,
)
from common.sqs.sqs_sync import sqs_client
from common.stopping import Stop

pytestmark = pytest.mark.django_db


def run_once(
    queue_url: str, *, threads: int = 2, patience: float = relay.READ_TIMEOUT
) -> dict[str, int]:
    """Send the due events, and return the counts of the relay."""
    client = sqs_client(read_timeout=patience)
    one = Relay(queue_url, Stop(), threads=threads, client=client)
    one.run(until_empty=True)
    return dict(one.counts)


def send_due(one: Relay) -> bool:
    """Send one round of due events."""
    with ThreadPoolExecutor(1) as executor:
        return one.send_due(executor)


def make_due() -> None:
    EventSync.objects.update(next_attempt_at=F("next_attempt_at") - timedelta(days=1))


def test_due_events_are_sent(queue_url: str, sqs: Network) -> None:
    events = [store(number) for number in range(45)]
    requests = sqs.requests
    assert run_once(queue_url) == {"sent": 45}
    assert sqs.requests == requests + 5, "ten events a request"
    assert sorted(received_ids(queue_url)) == [event.pk for event in events]
    assert set(states(*events)) == {State.SENT}
    assert run_once(queue_url) == {}


def test_large_events_are_sent_in_several_requests(queue_url: str, sqs: Network) -> None:
    events = [store(number, obj_data={"x": "é" * 200_000}) for number in range(5)]
    requests = sqs.requests
    assert run_once(queue_url) == {"sent": 5}
    assert sqs.requests == requests + 3
    assert sorted(received_ids(queue_url)) == [event.pk for event in events]


def test_events_of_one_object_need_no_order_without_a_fifo_queue(queue_url: str) -> None:
    for _event in range(15):
        store()
    one = Relay(queue_url, Stop())
    assert send_due(one)
    assert one.counts == {"sent": 15}


def test_a_fifo_queue_gets_no_event_before_an_earlier_one_of_its_object(fifo_url: str) -> None:
    first, second, other = store(1), store(1), store(2)
    EventSync.objects.filter(pk=first.pk).update(next_attempt_at=Now() + timedelta(hours=1))
    assert run_once(fifo_url) == {"sent": 1}
    assert received_ids(fifo_url) == [other.pk]
    assert states(first, second) == [State.PENDING] * 2


def test_a_relay_finds_what_is_due_behind_many_blocked_events(fifo_url: str) -> None:
    store(1, state=State.DEAD, next_attempt_at=None)
    for _event in range(relay.BATCHES * MAX_BATCH + 1):
        store(1)
    other = store(2)
    assert run_once(fifo_url, threads=1) == {"sent": 1}
    assert received_ids(fifo_url) == [other.pk]


def test_a_relay_sends_as_many_requests_at_a_time_as_it_has_threads(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    both = threading.Barrier(2, timeout=10)

    def send(*_arguments: object) -> Answer:
        threads.add(threading.current_thread().name)
        both.wait()
        time.sleep(0.05)  # for a third thread, if there is one
        stop.requested = True
        return Answer()

    monkeypatch.setattr(relay, "send_batch", send)
    for number in range(60):
        store(number)
    stop = Stop()
    Relay(queue_url, stop, threads=2).run()
    assert threads == {"event-sync_0", "event-sync_1"}


def test_the_client_of_a_relay_fits_its_queue() -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"
    meta: Any = Relay(url, Stop())._client.meta
    assert meta.region_name == "eu-west-1"
    assert (meta.config.connect_timeout, meta.config.read_timeout) == (2, 5)


def test_a_relay_waits_if_nothing_is_due(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, pauses = Stop(), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        stop.requested = True

    monkeypatch.setattr(stop, "sleep", sleep)
    Relay(queue_url, stop).run()
    assert pauses == [relay.POLL_INTERVAL]


@pytest.mark.parametrize("fault", ["down", "throttled", "forbidden"])
def test_an_outage_costs_no_attempt(fault: Fault, queue_url: str, sqs: Network) -> None:
    events = [store(number) for number in range(3)]
    sqs.fault = fault
    for _run in range(MAX_ATTEMPTS + 1):
        assert run_once(queue_url) == {"failed": 3}
    assert set(EventSync.objects.values_list("state", "attempts")) == {(State.PENDING, 0)}
    sqs.fault = ""
    assert run_once(queue_url) == {"sent": 3}
    assert received_ids(queue_url) == [event.pk for event in events]


@pytest.mark.parametrize("fault", ["slow answer", "lost answer", "no ids"])
def test_an_event_without_a_known_result_is_sent_again(
    fault: Fault, queue_url: str, sqs: Network
) -> None:
    event = store()
    sqs.fault = fault
    assert run_once(queue_url, patience=PATIENCE) == {"failed": 1}
    assert states(event) == [State.PENDING]
    assert fault != "slow answer" or sqs.held.acquire(timeout=10), "the message is in the queue"
    sqs.fault = ""
    make_due()
    assert run_once(queue_url) == {"sent": 1}
    assert received_ids(queue_url) == [event.pk, event.pk], "at least once"


@pytest.mark.parametrize("fault", ["slow answer", "lost answer", "no ids"])
def test_a_fifo_queue_drops_a_repeated_message(fault: Fault, fifo_url: str, sqs: Network) -> None:
    event = store()
    sqs.fault = fault
    run_once(fifo_url, patience=PATIENCE)
    assert fault != "slow answer" or sqs.held.acquire(timeout=10), "the message is in the queue"
    sqs.fault = ""
    make_due()
    assert run_once(fifo_url) == {"sent": 1}
    assert received_ids(fifo_url) == [event.pk]


def test_the_relay_releases_its_events_when_an_outage_begins(
    queue_url: str, sqs: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that were claimed but not tried are due again before their lease expires."""
    for number in range(60):
        store(number)
    sqs.fault = "down"
    run_once(queue_url, threads=1)
    assert not EventSync.objects.exclude(state=State.PENDING, lease="").exists()
    (line,) = logged(caplog, "event_sync_outage")
    assert line["of"] == "sqs"
    sqs.fault = ""
    assert run_once(queue_url) == {"sent": 60}


def test_a_relay_holds_nothing_while_sqs_is_down(queue_url: str, sqs: Network) -> None:
    for number in range(60):
        store(number)
    sqs.fault = "down"
    one = Relay(queue_url, Stop(), threads=1)
    assert send_due(one)
    requests = sqs.requests
    one.outage._until += 60
    assert not send_due(one)
    assert sqs.requests == requests
    assert EventSync.objects.filter(state=State.PENDING, lease="").count() == 60


def test_a_relay_tries_a_single_batch_after_an_outage(queue_url: str, sqs: Network) -> None:
    for number in range(60):
        store(number)
    one = Relay(queue_url, Stop(), threads=1)
    one.outage.begin("down")
    one.outage._until = 0
    assert send_due(one)
    assert one.counts == {"sent": 10}
    assert send_due(one)
    assert one.counts == {"sent": 60}


def test_a_message_too_large_for_the_queue_is_refused(queue_url: str) -> None:
    """It is dead in the end. The other messages of its batch are sent."""
    sqs_client().set_queue_attributes(QueueUrl=queue_url, Attributes={"MaximumMessageSize": "1024"})
    small, large, other = store(1), store(2, obj_data={"x": "x" * 2000}), store(3)
    assert run_once(queue_url)["sent"] == 2
    assert states(small, large, other) == [State.SENT, State.PENDING, State.SENT]
    for _attempt in range(20):
        make_due()
        run_once(queue_url)
    large.refresh_from_db()
    assert large.state == State.DEAD
    assert "1024" in large.last_error
    assert large.log.count("refused") == large.attempts == 12


def test_events_of_one_object_are_sent_in_batches_of_ten(fifo_url: str, sqs: Network) -> None:
    events = [store(1, obj_data={"n": number}) for number in range(25)]
    requests = sqs.requests
    assert run_once(fifo_url, threads=4) == {"sent": 25}
    assert sqs.requests == requests + 3
    assert received_ids(fifo_url) == [event.pk for event in events]


def test_large_events_of_one_object_stay_in_order(fifo_url: str, sqs: Network) -> None:
    large = {"x": "x" * 600_000}
    events = [store(1, obj_data=large), store(1), store(1, obj_data=large), store(1)]
    assert run_once(fifo_url, threads=4) == {"sent": 4}
    assert received_ids(fifo_url) == [event.pk for event in events]


def test_a_message_accepted_out_of_turn_is_sent_again_in_order(
    fifo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS accepts the third event of a batch, but not the second."""
    events = [store(1, obj_data={"n": number}) for number in range(3)]
    client = sqs_client(read_timeout=relay.READ_TIMEOUT)
    real = client.send_message_batch

    def fail_once(**arguments: Any) -> Any:
        monkeypatch.setattr(client, "send_message_batch", real)
        _first, second, _third = arguments["Entries"]
        arguments["Entries"].remove(second)
        failed = {"Id": second["Id"], "SenderFault": False, "Code": "InternalError"}
        return real(**arguments) | {"Failed": [failed]}

    monkeypatch.setattr(client, "send_message_batch", fail_once)
    assert run_once(fifo_url) == {"sent": 1, "failed": 2}
    assert states(*events) == [State.SENT, State.PENDING, State.PENDING]
    make_due()
    assert run_once(fifo_url) == {"sent": 2}
    ids = [event.pk for event in events]
    assert received_ids(fifo_url) == [ids[0], ids[2], ids[1], ids[2]]


def test_events_of_each_object_are_sent_in_order(fifo_url: str) -> None:
    events = [store(number % 3, obj_data={"n": number}) for number in range(15)]
    assert run_once(fifo_url, threads=4) == {"sent": 15}
    ids = received_ids(fifo_url)
    for start in range(3):
        of_object = [event.pk for event in events[start::3]]
        assert [pk for pk in ids if pk in of_object] == of_object


def test_a_delete_waits_for_a_failed_put(fifo_url: str) -> None:
    sqs_client().set_queue_attributes(QueueUrl=fifo_url, Attributes={"MaximumMessageSize": "1024"})
    put = store(1, obj_data={"x": "x" * 2000})
    delete = store(1, obj_cmd="delete")
    other = store(2)
    run_once(fifo_url)
    assert states(put, delete, other) == [State.PENDING, State.PENDING, State.SENT]
    sqs_client().set_queue_attributes(QueueUrl=fifo_url, Attributes={"MaximumMessageSize": "4096"})
    make_due()
    run_once(fifo_url)
    assert received_ids(fifo_url) == [other.pk, put.pk, delete.pk]


def test_a_result_is_discarded_after_the_lease_expired(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another relay has sent the event meanwhile."""
    event = store()
    one, other = Relay(queue_url, Stop()), Relay(queue_url, Stop())
    record = outbox.record

    def record_late(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(outbox, "record", record)
        make_due()
        send_due(other)
        return record(*args, **options)

    monkeypatch.setattr(outbox, "record", record_late)
    send_due(one)
    assert (one.counts, other.counts) == ({"lease_lost": 1}, {"sent": 1})
    assert states(event) == [State.SENT]
    assert received_ids(queue_url) == [event.pk] * 2


def test_an_old_claim_is_released_unsent(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store()
    monkeypatch.setattr(relay, "FRESH", -1)
    one = Relay(queue_url, Stop())
    assert send_due(one)
    assert not one.counts
    assert received_ids(queue_url) == []
    assert set(EventSync.objects.values_list("state", "lease")) == {(State.PENDING, "")}


def test_a_stop_releases_what_was_not_sent(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The responses to requests in flight are recorded."""
    for number in range(25):
        store(number)
    stop = Stop()

    def send_and_stop(*args: Any) -> Any:
        stop.requested = True
        return sending.send_batch(*args)

    monkeypatch.setattr(relay, "send_batch", send_and_stop)
    one = Relay(queue_url, stop, threads=1)
    one.run()
    assert one.counts == {"sent": 10}
    assert EventSync.objects.filter(state=State.PENDING, lease="").count() == 15


# Running until it is stopped


@contextmanager
def running(queue_url: str) -> Iterator[Relay]:
    """Run a relay in another thread during the block."""

    def work() -> None:
        try:
            one = Relay(queue_url, stop, threads=2)
            started.append(one)
            one.run()
        finally:
            connection.close()

    started: list[Relay] = []
    stop = Stop()
    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: bool(started))
    try:
        yield started[0]
    finally:
        stop.requested = True
        thread.join(10)
        assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come to pass"
        time.sleep(0.02)


def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "backoff", lambda failures, **bounds: 0.01)


def all_sent() -> bool:
    return not EventSync.objects.exclude(state=State.SENT).exists()


@pytest.mark.django_db(transaction=True)
def test_a_running_relay_sends_new_events(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "POLL_INTERVAL", 0.01)
    events = []
    with running(queue_url):
        for number in range(2):
            events.append(store(number))
            wait_until(all_sent)
    assert received_ids(queue_url) == [event.pk for event in events]


@pytest.mark.django_db(transaction=True)
def test_a_running_relay_continues_after_an_outage(
    queue_url: str, sqs: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_retries(monkeypatch)
    store()
    sqs.fault = "down"
    with running(queue_url) as one:
        wait_until(lambda: one.counts["failed"] >= 3)
        sqs.fault = ""
        wait_until(all_sent)
    assert set(EventSync.objects.values_list("attempts", flat=True)) == {0}


@pytest.mark.django_db(transaction=True)
def test_a_running_relay_continues_after_a_database_failure(
    queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that SQS accepted meanwhile are recorded when the database is back, and not sent again."""
    failures = 0

    def fail(*args: object, **options: object) -> None:
        nonlocal failures
        failures += 1
        if failures == 3:
            monkeypatch.setattr(outbox, "record", record)
        raise OperationalError("gone")

    record = outbox.record
    quick_retries(monkeypatch)
    monkeypatch.setattr(outbox, "record", fail)
    event = store()
    with running(queue_url):
        wait_until(all_sent)
    assert failures == 3
    assert received_ids(queue_url) == [event.pk]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_stops_on_a_signal(
    number: signal.Signals, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for event in range(30):
        store(event)

    # Several threads send. A second signal would end the process of the tests.
    signals = iter([number])

    def send_and_stop(*args: Any) -> Any:
        for one in signals:
            os.kill(os.getpid(), one)
        return sending.send_batch(*args)

    monkeypatch.setattr(relay, "send_batch", send_and_stop)
    call_command("event_sync_relay")
    assert not EventSync.objects.filter(state=State.SENDING).exists()
    sent = EventSync.objects.filter(state=State.SENT).count()
    assert len(received_ids(queue_url)) == sent > 0


def test_a_failure_to_close_the_connection_does_not_stop_the_relay(
    queue_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def close() -> None:
        raise OperationalError("closed")

    monkeypatch.setattr(outbox, "outbox_connection", lambda: SimpleNamespace(close=close))
    stop = Stop()
    stop.requested = True
    Relay(queue_url, stop)._await_database(OperationalError("gone"))
    (line,) = logged(caplog, "event_sync_outage")
    assert line["of"] == "database"
    assert line["error"].endswith("OperationalError: gone")


# Commands


def run(command: str, *arguments: str) -> str:
    output = StringIO()
    call_command(command, *arguments, stdout=output, stderr=output)
    return output.getvalue()


def test_once_exits_when_nothing_is_due(queue_url: str) -> None:
    for number in range(3):
        store(number)
    assert run("event_sync_relay", "--once", "--threads", "1") == "3 sent\n"
    assert run("event_sync_relay", "--once") == "nothing due\n"
    assert len(received_ids(queue_url)) == 3


def test_once_fails_if_sqs_is_unavailable(queue_url: str, sqs: Network) -> None:
    store()
    sqs.fault = "down"
    with pytest.raises(CommandError, match=r"SQS is not available.*503"):
        run("event_sync_relay", "--once")


def test_the_command_requires_a_queue(settings: Settings) -> None:
    with pytest.raises(CommandError, match="SQS_QUEUE_URL is not set"):
        run("event_sync_relay")


def set_up(name: str, *arguments: str, **options: Any) -> str:
    output = StringIO()
    options = {"stderr": StringIO(), "no_input": True} | options
    arguments = (*arguments, *(["--no-input"] if options.pop("no_input") else []))
    call_command("event_sync_setup", name, *arguments, stdout=output, **options)
    return output.getvalue()


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe", "x"])
def test_setup_shows_the_account_and_creates_nothing_unless_confirmed(
    answer: str, sqs: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda: answer)
    shown = StringIO()
    with pytest.raises(CommandError, match=r"^Nothing was created\.$"):
        set_up("not-there", no_input=False, stderr=shown)
    assert f"Endpoint: {sqs.address}\n" in shown.getvalue()
    assert "Account: 123456789012 (arn:aws:" in shown.getvalue()
    prompt = "Create the queue and its dead-letter queue there? [y/N] "
    assert shown.getvalue().endswith(f"Region: us-east-1\n{prompt}")
    urls = sqs_client().list_queues(QueueNamePrefix="not-there").get("QueueUrls", [])
    assert urls == []


@pytest.mark.parametrize("answer", ["y", "Yes "])
def test_setup_creates_the_queues_if_confirmed(
    answer: str, sqs: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda: answer)
    assert "/confirmed\n" in set_up("confirmed", no_input=False)


@pytest.mark.parametrize(
    ("sqs_endpoint", "sts_endpoint"),
    [
        ("https://sqs.eu-west-1.amazonaws.com", None),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_setup_sends_credentials_to_amazon_or_to_the_server_of_the_queue(
    sqs_endpoint: str, sts_endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def client(name: str, *, region_name: str, endpoint_url: str | None) -> Any:
        asked.append((name, region_name, endpoint_url))
        return SimpleNamespace(get_caller_identity=lambda: {"Account": "1", "Arn": "a"})

    monkeypatch.setattr("boto3.session.Session", lambda: SimpleNamespace(client=client))
    meta = SimpleNamespace(endpoint_url=sqs_endpoint, region_name="eu-west-1")
    assert event_sync_setup._account(SimpleNamespace(meta=meta)) == "1 (a)"  # type: ignore[arg-type]
    assert asked == [("sts", "eu-west-1", sts_endpoint)]


def test_setup_without_a_terminal_needs_no_input(
    sqs: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match=r"^There is no one to ask; --no-input"):
        set_up("not-there", no_input=False)


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_setup_creates_a_queue_and_its_dead_letter_queue(name: str, sqs: Network) -> None:
    output = set_up(name)
    url, region, endpoint = output.splitlines()
    assert set_up(name) == output, "a second time changes nothing"
    assert url.startswith("SQS_QUEUE_URL=http://127.0.0.1")
    assert url.endswith(f"/{name}")
    assert region == "AWS_DEFAULT_REGION=us-east-1"
    assert endpoint == f"AWS_ENDPOINT_URL_SQS={sqs.address}"

    queue_url = url.removeprefix("SQS_QUEUE_URL=")
    attributes: Any = sqs_client().get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])[
        "Attributes"
    ]
    assert attributes["MaximumMessageSize"] == "1048576"
    assert attributes["MessageRetentionPeriod"] == str(7 * 24 * 60 * 60)
    assert attributes["VisibilityTimeout"] == "120"
    assert attributes.get("FifoQueue", "false") == ("true" if "fifo" in name else "false")
    assert attributes["SqsManagedSseEnabled"] == "true"
    redrive = json.loads(attributes["RedrivePolicy"])
    assert int(redrive["maxReceiveCount"]) == 5
    dead_name = redrive["deadLetterTargetArn"].rpartition(":")[2]
    assert dead_name == name.replace("orders", "orders-dead")
    dead_url = sqs_client().get_queue_url(QueueName=dead_name)["QueueUrl"]
    dead: Any = sqs_client().get_queue_attributes(QueueUrl=dead_url, AttributeNames=["All"])[
        "Attributes"
    ]
    assert dead["MessageRetentionPeriod"] == str(14 * 24 * 60 * 60)


def test_setup_keeps_an_existing_queue(sqs: Network) -> None:
    attributes: Any = {"MaximumMessageSize": "262144", "VisibilityTimeout": "7"}
    url = sqs_client().create_queue(QueueName="older", Attributes=attributes)["QueueUrl"]
    assert f"SQS_INBOUND_QUEUE_URL={url}" in set_up("older", "--inbound")
    found: Any = sqs_client().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
        "Attributes"
    ]
    assert (found["VisibilityTimeout"], found["MaximumMessageSize"]) == ("7", "262144")


def test_setup_without_permission_fails_with_the_reason(sqs: Network) -> None:
    sqs.fault = "forbidden"
    shown = StringIO()
    with pytest.raises(CommandError, match="AccessDenied"):
        set_up("orders", stderr=shown)
    assert "Account: unknown (" in shown.getvalue()


def test_status_prints_the_counts() -> None:
    store(1)
    store(2, state=State.DEAD)
    status = json.loads(run("event_sync_status", "--json"))
    assert (status["pending"], status["dead"]) == (1, 1)
    assert 0 <= status["oldest_pending_seconds"] < 60
    assert run("event_sync_status").splitlines()[::2] == ["pending: 1", "dead: 1"]


def test_requeue_sends_dead_or_chosen_events_again() -> None:
    sent, dead, other = (
        store(1, state=State.SENT),
        store(2, state=State.DEAD, attempts=12),
        store(3, state=State.DEAD),
    )
    assert run("event_sync_requeue", str(sent.pk), str(dead.pk)) == "2 requeued\n"
    assert states(sent, dead, other) == [State.PENDING, State.PENDING, State.DEAD]
    assert run("event_sync_requeue", "--dead") == "1 requeued\n"
    assert outbox.claim(10) == [sent, dead, other]


@pytest.mark.parametrize("arguments", [[], ["--dead", "1"]])
def test_requeue_needs_ids_or_dead(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run("event_sync_requeue", *arguments)


def test_prune_deletes_old_sent_events() -> None:
    store(1, state=State.SENT, sent="2020-01-01T00:00:00Z")
    store(2, state=State.PENDING)
    assert run("event_sync_prune", "--days", "1") == "1 deleted\n"
    assert EventSync.objects.count() == 1
    with pytest.raises(CommandError):
        run("event_sync_prune", "--days", "-1")
