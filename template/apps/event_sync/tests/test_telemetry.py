"""Traces and metrics of the relay and of the consumer."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.api.tests.otlp import Exported
from apps.event_sync.inbound.queue import Consumer
from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.relay import Relay
from apps.event_sync.tests.inbound.helpers import confirmation, make_event
from apps.event_sync.tests.outgoing.helpers import produce, store
from common import telemetry
from common.sqs.sqs_sync import SqSManager
from common.stopping import Stop

pytestmark = pytest.mark.django_db


def test_a_trace_continues_in_the_relay(queue_url: str, exported: Exported) -> None:
    with telemetry.span("first", "SERVER"):
        produce(1)
    with telemetry.span("second", "SERVER"):
        produce(2)
    store(3)
    Relay(queue_url, Stop(), threads=1).run(until_empty=True)
    parents = {exported.span(name).id: exported.span(name).trace_id for name in ("first", "second")}
    sent = [span for span in exported.spans() if span.name == "event_sync.send"]
    assert {span.parent_id: span.trace_id for span in sent} == parents
    assert exported.span("aws_sqs send").trace_id in parents.values()
    assert exported.metrics()["event_sync.results"] == [({"result": "sent"}, 3)]
    assert "messaging.client.operation.duration" in exported.metrics()


def test_a_single_message_is_traced(queue_url: str, exported: Exported) -> None:
    with telemetry.span("first", "SERVER"):
        SqSManager.send({"number": 1})
    assert exported.span("aws_sqs send").parent_id == exported.span("first").id


def test_the_status_of_the_outbox_is_measured(exported: Exported) -> None:
    store(1, created=timezone.now() - timedelta(minutes=10))
    store(2, state=EventSync.State.DEAD, next_attempt_at=None)
    telemetry.measure()
    values = {name: points[0][1] for name, points in exported.metrics().items()}
    assert (values["event_sync.pending"], values["event_sync.dead"]) == (1, 1)
    assert 600 <= values["event_sync.oldest_pending_seconds"] < 2400


def test_polls_are_measured_and_not_traced(queue_url: str, exported: Exported) -> None:
    Consumer(queue_url, Stop(), long_poll=0).run(until_empty=True)
    call = {"messaging.system": "aws_sqs", "messaging.operation.name": "receive"}
    assert exported.metrics()["messaging.client.operation.duration"] == [(call, 1)]
    assert exported.spans() == []


def test_confirmations_are_counted(
    sqs: object, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.event_sync.inbound.queue.close_old_connections", lambda: None)
    consumer = Consumer("https://sqs.us-east-1.amazonaws.com/123456789012/in", Stop())
    monkeypatch.setattr(consumer, "_delete", lambda _messages: None)
    body = json.dumps(confirmation(make_event()))
    messages: Any = [{"MessageId": str(number), "Body": body} for number in range(2)]
    consumer.handle([*messages, {"MessageId": "3", "Body": "not JSON"}])
    points = sorted(exported.metrics()["event_sync.confirmations"], key=str)
    assert points == [({"result": "processed"}, 2), ({"result": "refused"}, 1)]
    assert len([span for span in exported.spans() if span.name == "event_sync.confirm"]) == 3
