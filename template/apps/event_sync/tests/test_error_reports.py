"""Errors of the relay and of the consumer are reported to Sentry, without the events."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from apps.api.tests.receiver import Receiver
from apps.api.tests.test_error_reports import EMAIL, assert_is_safe, fail
from apps.event_sync.inbound.queue import Consumer
from apps.event_sync.outgoing.relay import Relay
from apps.event_sync.tests.inbound.helpers import confirmation, handled_by, make_event
from apps.event_sync.tests.outgoing.helpers import store
from common.stopping import Stop

pytestmark = pytest.mark.django_db
URL = "https://sqs.us-east-1.amazonaws.com/123456789012/events"


def test_an_error_of_the_relay_is_reported(sentry: Receiver) -> None:
    store(obj_data={"email": EMAIL})
    client: Any = SimpleNamespace(send_message_batch=fail)
    Relay(URL, Stop(), client=client).run(until_empty=True)
    (report,) = sentry.reports()
    assert report["logentry"] == {"message": "event_sync_send_failed"}
    assert_is_safe(report)


def test_an_error_of_a_handler_is_reported(
    sentry: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.event_sync.inbound.queue.close_old_connections", lambda: None)
    body = json.dumps(confirmation(make_event("invoice"), email=EMAIL))
    message: Any = {"MessageId": "1", "Body": body}
    with handled_by(fail):
        assert Consumer(URL, Stop()).handle([message]) == {"failed": 1}
    (report,) = sentry.reports()
    assert report["logentry"] == {"message": "event_handler_failed"}
    assert_is_safe(report)
