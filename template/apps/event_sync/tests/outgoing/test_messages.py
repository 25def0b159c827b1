"""The message of an event."""

import pytest

from apps.event_sync.outgoing.messages import build_message
from apps.event_sync.tests.outgoing.helpers import store

pytestmark = pytest.mark.django_db


def test_characters_that_sqs_would_replace_are_escaped() -> None:
    message = build_message(store(obj_data={"text": "a\ufffeb\uffffc"}))
    assert '{"text":"a\\ufffeb\\uffffc",' in message.body


def test_a_stored_value_that_json_does_not_have_is_not_sent() -> None:
    event = store()
    event.obj_data = {"price": float("nan")}
    with pytest.raises(ValueError, match="JSON"):
        build_message(event)


def test_an_event_that_is_sent_again_has_another_deduplication_id() -> None:
    event = store()
    stored = f"{event.pk}-{event.created:%Y%m%d%H%M%S%f}"
    assert build_message(event).deduplication_id == stored
    event.message_id = "m" * 128
    again = build_message(event).deduplication_id
    assert again == f"{stored}-{event.message_id}"[:128]
    assert len(again) == 128, "the maximum of SQS"
