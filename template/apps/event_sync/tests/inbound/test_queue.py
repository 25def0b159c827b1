"""Confirmations from a queue, with boto3 and moto's server."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from django.core.management import CommandError, call_command
from django.db import OperationalError, close_old_connections, connection
from pytest_django import Settings
from rest_framework.exceptions import ValidationError

from apps.event_sync.inbound import queue as consumer_module
from apps.event_sync.inbound.queue import Consumer, read_body
from apps.event_sync.management.commands import event_sync_consume
from apps.event_sync.managers.consumer_msg import ConsumerMsg
from apps.event_sync.models import EventSync
from apps.event_sync.tests.inbound.helpers import confirmation, handled_by, make_event, refresh
from apps.event_sync.tests.logs import logged
from apps.event_sync.tests.outgoing.helpers import Network
from apps.user.models import User
from apps.user.tests.factories import make_user
from common.sqs.sqs_sync import sqs_client
from common.stopping import Stop, stop_on_signals

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sqs")]


@pytest.fixture(autouse=True)
def open_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the consumer from closing the connection of the test's transaction."""
    monkeypatch.setattr(consumer_module, "close_old_connections", lambda: None)


class Queue:
    """An inbound queue with a dead-letter queue, and a consumer of it."""

    visibility = "30"

    def __init__(self, *, fifo: bool = False) -> None:
        self.fifo = fifo
        self.dead_url = self._create("inbound-dead", {})
        (arn,) = self._describe(self.dead_url, "QueueArn")
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
        self.url = self._create(
            "inbound", {"RedrivePolicy": policy, "VisibilityTimeout": self.visibility}
        )
        self.stop = Stop()

    def _create(self, name: str, attributes: dict[str, str]) -> str:
        fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if self.fifo else {}
        name += ".fifo" if self.fifo else ""
        answer = sqs_client().create_queue(QueueName=name, Attributes=attributes | fifo)  # type: ignore[arg-type]
        return answer["QueueUrl"]

    def _describe(self, url: str, *attributes: Any) -> list[str]:
        answer = sqs_client().get_queue_attributes(QueueUrl=url, AttributeNames=attributes)
        return [answer["Attributes"][attribute] for attribute in attributes]

    def send(self, body: object, group: str = "") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        extra = {"MessageGroupId": group} if group else {}
        sqs_client().send_message(QueueUrl=self.url, MessageBody=text, **extra)  # type: ignore[arg-type]

    def consumer(self) -> Consumer:
        return Consumer(self.url, self.stop, long_poll=0)

    def drain(self) -> Counter[str]:
        return Counter(self.consumer().run(until_empty=True))

    def counts(self) -> tuple[int, int, int]:
        """How many messages wait, are hidden, and are in the dead-letter queue."""
        waits, hidden = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
        numbers = self._describe(self.url, waits, hidden) + self._describe(self.dead_url, waits)
        waiting, in_flight, dead = map(int, numbers)
        return waiting, in_flight, dead


@pytest.fixture
def queue(sqs: Network) -> Queue:
    return Queue()


@pytest.fixture
def fifo(sqs: Network) -> Queue:
    return Queue(fifo=True)


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed messages can be received again at once."""
    monkeypatch.setattr(Queue, "visibility", "0")


def greet(event: EventSync, obj_data: dict[str, Any]) -> None:
    """A handler that writes, and fails if the data ask for it."""
    make_user(first_name=obj_data.get("name", "Ana"))
    if "fault" in obj_data:
        raise LookupError(obj_data["fault"])


@pytest.fixture(autouse=True)
def invoices() -> Iterator[None]:
    with handled_by(greet):
        yield


class TestMessages:
    def test_messages_are_accepted_with_and_without_the_envelope(self, queue: Queue) -> None:
        plain, enveloped = make_event(), make_event()
        queue.send(confirmation(plain))
        queue.send({"apps": {"target": ["us"]}, "data": confirmation(enveloped), "timestamp": 1.0})
        assert queue.drain() == {"processed": 2}
        assert refresh(plain).processed
        assert refresh(enveloped).processed
        assert queue.counts() == (0, 0, 0)

    def test_more_messages_than_one_batch_are_processed(self, queue: Queue) -> None:
        events = [make_event() for _number in range(25)]
        for event in events:
            queue.send(confirmation(event))
        assert queue.drain() == {"processed": 25}
        assert not EventSync.objects.filter(processed=None).exists()

    def test_a_repeated_message_has_no_effect(self, queue: Queue) -> None:
        event = make_event("invoice")
        for _number in range(3):
            queue.send(confirmation(event))
        assert queue.drain() == {"processed": 3}
        assert User.objects.count() == 1

    def test_a_message_after_the_same_confirmation_over_http_has_no_effect(
        self, queue: Queue
    ) -> None:
        event = make_event("invoice")
        read_body(json.dumps(confirmation(event))).handle_msg_sync()
        queue.send(confirmation(event))
        assert queue.drain() == {"processed": 1}
        assert User.objects.count() == 1


class TestPoison:
    BODIES = [
        *["", "{", "[]", "null", '"x"', "NaN", "[" * 100_000, "1" * 5_000, '{"data": []}'],
        *['{"data": {"data": {}}}', '{"obj_type": "invoice", "obj_cmd": "put", "obj_data": {}}'],
        '{"obj_type": "invoice", "obj_cmd": "put", "obj_data": {"event_id": true}}',
        '{"obj_type": "invoice", "obj_cmd": "put", "obj_data": {"event_id": 999999}}',
    ]

    @pytest.mark.usefixtures("no_delays")
    @pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:70] or "empty")
    def test_a_poison_message_goes_to_the_dead_letter_queue(self, queue: Queue, body: str) -> None:
        """The messages received with it are processed, before and after it."""
        events = [make_event("invoice"), make_event("invoice")]
        queue.send(confirmation(events[0]))
        queue.send(body)
        queue.send(confirmation(events[1]))
        assert queue.drain() == {"processed": 2, "refused": 3}
        assert queue.counts() == (0, 0, 1)
        assert User.objects.count() == 2

    @pytest.mark.usefixtures("no_delays")
    def test_a_refused_message_is_logged_at_its_event(self, queue: Queue) -> None:
        event = make_event("invoice")
        queue.send(confirmation(event))
        assert queue.drain() == {"processed": 1}
        queue.send(confirmation(event, name="Bia"))
        queue.send(confirmation(make_event("unheard of")))
        assert queue.drain() == {"refused": 6}
        assert queue.counts() == (0, 0, 2)
        assert "payload_conflict" in refresh(event).log
        assert User.objects.count() == 1


def test_the_work_of_a_consumer_is_logged(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(body: str) -> ConsumerMsg:
        if body == "bug":
            raise ZeroDivisionError
        return read_body(body)

    monkeypatch.setattr(consumer_module, "read_body", bug)
    caplog.set_level("INFO")
    for body in (confirmation(make_event()), "{", "bug"):
        queue.send(body)
    queue.drain()
    outcomes = "{'processed': 1, 'refused': 1, 'failed': 1}"
    assert logged(caplog, "event_sync_consumer_started") == [{"queue_url": queue.url}]
    assert logged(caplog, "event_sync_messages_handled") == [{"outcomes": outcomes}]
    assert logged(caplog, "event_sync_consumer_stopped") == [{"outcomes": outcomes}]
    (refused,) = logged(caplog, "event_sync_message_refused")
    assert refused["reason"] == "['malformed']"
    (failed,) = logged(caplog, "event_sync_message_failed")
    ids = {refused["message_id"], failed["message_id"]}
    assert len(ids) == 2
    assert all(len(message_id) == 36 for message_id in ids)


def test_a_message_that_is_not_json_is_described() -> None:
    with pytest.raises(ValidationError, match=r"'The message is not JSON\.'"):
        read_body("{")


def test_a_confirmation_is_no_envelope_because_of_another_field() -> None:
    body = {"obj_type": "a", "obj_data": {"event_id": 1}, "obj_cmd": "put", "data": {}}
    assert read_body(json.dumps(body)).obj_type == "a"


@pytest.mark.parametrize(("name", "size"), [("inbound", 10), ("inbound.fifo", 1)])
def test_a_consumer_polls_its_queue_until_it_is_stopped(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, calls = [], []
    stop = Stop()

    def receive(**arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        stop.requested = len(calls) == 2
        return {}

    def client(url: str, *, read_timeout: float) -> Any:
        clients.append((url, read_timeout))
        return SimpleNamespace(receive_message=receive)

    monkeypatch.setattr(consumer_module, "sqs_client", client)
    Consumer(name, stop).run()
    assert clients == [(name, 15)]
    call = {"QueueUrl": name, "MaxNumberOfMessages": size, "WaitTimeSeconds": 5}
    assert calls == [call] * 2


class TestFailure:
    def test_a_failed_message_is_hidden_for_a_while(self, queue: Queue) -> None:
        event = make_event("invoice")
        queue.send(confirmation(event, fault="out of order"))
        assert queue.drain() == {"failed": 1}
        assert queue.counts() == (0, 1, 0)
        assert "LookupError: out of order" in refresh(event).log
        assert User.objects.count() == 0

    @pytest.mark.usefixtures("no_delays")
    def test_a_failed_message_is_retried(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        faults = [OSError("out of order"), None]

        def fail_once(event: EventSync, obj_data: dict[str, Any]) -> None:
            make_user()
            if fault := faults.pop(0):
                raise fault

        with handled_by(fail_once, "receipt"):
            event = make_event("receipt")
            queue.send(confirmation(event))
            assert queue.drain() == {"failed": 1, "processed": 1}
        assert User.objects.count() == 1
        assert queue.counts() == (0, 0, 0)

    def test_an_unexpected_error_does_not_stop_the_consumer(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def bug(body: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(consumer_module, "read_body", bug)
        queue.send("{}")
        queue.send("{}")
        assert queue.drain() == {"failed": 2}
        assert queue.counts() == (0, 2, 0)


class TestFifo:
    def test_a_fifo_queue_is_processed_in_order(self, fifo: Queue) -> None:
        for number in range(15):
            fifo.send(confirmation(make_event("invoice"), name=f"{number:02}"), group="a")
        assert fifo.drain() == {"processed": 15}
        names = User.objects.order_by("pk").values_list("first_name", flat=True)
        assert list(names) == [f"{number:02}" for number in range(15)]

    def test_a_failure_only_stops_its_own_group(self, fifo: Queue) -> None:
        """The messages behind it wait, and are processed once it is gone."""
        bodies = [
            ("a", {"name": "a1"}),
            ("a", {"name": "a2", "fault": "x"}),
            ("b", {"name": "b1"}),
            ("a", {"name": "a3"}),
            ("b", {"name": "b2"}),
        ]
        for group, obj_data in bodies:
            fifo.send(confirmation(make_event("invoice"), **obj_data), group=group)
        assert fifo.drain() == {"processed": 3, "failed": 1}
        names = User.objects.order_by("pk").values_list("first_name", flat=True)
        assert list(names) == ["a1", "b1", "b2"]
        assert fifo.counts() == (1, 1, 0)

    @pytest.mark.usefixtures("no_delays")
    def test_a_poison_message_does_not_send_its_group_to_the_dead_letter_queue(
        self, fifo: Queue
    ) -> None:
        """SQS counts deliveries: the messages behind it must not be delivered with it each time."""
        fifo.send("{", group="a")
        for number in range(4):
            fifo.send(confirmation(make_event("invoice"), name=f"{number}"), group="a")
        assert fifo.drain() == {"refused": 3, "processed": 4}
        assert fifo.counts() == (0, 0, 1)
        names = User.objects.order_by("pk").values_list("first_name", flat=True)
        assert list(names) == ["0", "1", "2", "3"]


class TestDeletion:
    def test_a_message_that_sqs_does_not_delete_is_logged(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """moto never responds with a partial failure, so the test adds one."""
        for _number in range(2):
            queue.send(confirmation(make_event()))
        consumer = queue.consumer()

        def refuse(**arguments: Any) -> Any:
            assert [entry["Id"] for entry in arguments["Entries"]] == ["0", "1"]
            return {"Failed": [{"Id": "0", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"}]}

        monkeypatch.setattr(consumer._client, "delete_message_batch", refuse)
        assert consumer.run(until_empty=True) == {"processed": 2}
        (line,) = logged(caplog, "event_sync_messages_not_deleted")
        assert "ReceiptHandleIsInvalid" in line["failures"]

    def test_a_message_that_was_not_deleted_has_no_effect_again(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue.send(confirmation(make_event("invoice")))
        consumer = queue.consumer()
        receipts: list[str] = []
        with monkeypatch.context() as broken:

            def fail(**arguments: Any) -> Any:
                receipts.append(arguments["Entries"][0]["ReceiptHandle"])
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1")

            broken.setattr(consumer._client, "delete_message_batch", fail)
            assert consumer.run(until_empty=True) == {"processed": 1}
        (line,) = logged(caplog, "event_sync_messages_not_deleted")
        assert "Could not connect" in line["error"]
        sqs_client().change_message_visibility(
            QueueUrl=queue.url, ReceiptHandle=receipts[0], VisibilityTimeout=0
        )
        assert queue.drain() == {"processed": 1}
        assert User.objects.count() == 1
        assert queue.counts() == (0, 0, 0)


class TestOutage:
    @pytest.fixture
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The pauses of the consumer. Only its clock moves meanwhile."""
        now = [time.monotonic()]
        pauses: list[float] = []

        def sleep(_stop: Stop, seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

        monkeypatch.setattr(Stop, "sleep", sleep)
        clock = SimpleNamespace(monotonic=lambda: now[0])
        monkeypatch.setattr("apps.event_sync.outage.time", clock)
        return pauses

    def test_the_consumer_waits_until_sqs_is_available_again(
        self,
        queue: Queue,
        pauses: list[float],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        queue.send(confirmation(make_event()))
        consumer, calls = queue.consumer(), iter(range(100))
        real = consumer._client.receive_message

        def flaky(**arguments: Any) -> Any:
            if next(calls) < 7:
                raise EndpointConnectionError(endpoint_url="http://127.0.0.1")
            return real(**arguments)

        monkeypatch.setattr(consumer._client, "receive_message", flaky)
        assert consumer.run(until_empty=True) == {"processed": 1}
        for pause, longest in zip(pauses, (1, 2, 4, 8, 16, 32, 60), strict=True):
            assert longest / 2.1 <= pause <= longest
        line = logged(caplog, "event_sync_outage")[0]
        assert (line["of"], line["pause"]) == ("sqs", str(round(pauses[0], 1)))
        assert "EndpointConnectionError" in line["error"]
        assert logged(caplog, "event_sync_outage_over") == [{"of": "sqs"}]

    def test_no_message_is_received_while_the_database_is_unavailable(
        self,
        queue: Queue,
        pauses: list[float],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        states = iter(["unavailable", "unavailable", "ok"])

        def no_database(self: object) -> None:
            raise OperationalError("the server is gone")

        queue.send(confirmation(make_event()))
        consumer = queue.consumer()
        monkeypatch.setattr(consumer_module, "check_database", lambda alias: next(states))
        with monkeypatch.context() as gone:
            gone.setattr(ConsumerMsg, "handle_msg_sync", no_database)
            assert consumer.run(until_empty=True) == {"failed": 1}
        assert len(pauses) == 2
        assert list(states) == []
        (outage,) = logged(caplog, "event_sync_outage")[:1]
        assert (outage["of"], outage["error"]) == ("database", "not available")
        assert logged(caplog, "event_sync_outage_over") == [{"of": "database"}]
        assert queue.counts() == (0, 1, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("no_delays")
def test_a_lost_database_connection_is_reopened(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "close_old_connections", close_old_connections)
    consumer = queue.consumer()

    def lose_it(event: EventSync, obj_data: dict[str, Any]) -> None:
        connection.connection.close()

    with handled_by(lose_it, "receipt"):
        queue.send(confirmation(make_event("receipt")))
        assert consumer.handle(consumer._receive()) == {"failed": 1}
    with handled_by(lambda event, obj_data: None, "receipt"):
        assert consumer.handle(consumer._receive()) == {"processed": 1}


class TestStop:
    """With real signals to this process."""

    def test_a_stop_finishes_the_current_message_and_leaves_the_others(self, queue: Queue) -> None:
        def signalled(event: EventSync, obj_data: dict[str, Any]) -> None:
            make_user()
            os.kill(os.getpid(), signal.SIGTERM)

        with handled_by(signalled, "receipt"), stop_on_signals() as stop:
            for _number in range(3):
                queue.send(confirmation(make_event("receipt")))
            outcomes = Consumer(queue.url, stop, long_poll=0).run()
        assert outcomes == {"processed": 1}
        assert User.objects.count() == 1
        assert queue.counts() == (0, 2, 0)

    def test_a_second_signal_has_its_usual_effect(self) -> None:
        former = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        with stop_on_signals() as stop:
            assert signal.getsignal(signal.SIGTERM) != former[0]
            os.kill(os.getpid(), signal.SIGINT)
            assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == former
            stop.sleep(600)
        with stop_on_signals():
            pass
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == former


class TestCommand:
    def test_once_exits_when_the_queue_is_empty(
        self,
        queue: Queue,
        settings: Settings,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def consumer(url: str, stop: Stop, *, long_poll: int) -> Consumer:
            assert long_poll == 1
            return Consumer(url, stop, long_poll=0)

        monkeypatch.setattr(event_sync_consume, "Consumer", consumer)
        settings.SQS_INBOUND_QUEUE_URL = queue.url
        queue.send(confirmation(make_event()))
        queue.send("{")
        call_command("event_sync_consume", once=True)
        call_command("event_sync_consume", once=True)
        assert capsys.readouterr().out == "1 processed, 1 refused\nnothing received\n"

    def test_the_command_requires_a_queue(self) -> None:
        with pytest.raises(CommandError, match="SQS_INBOUND_QUEUE_URL"):
            call_command("event_sync_consume")
