"""The message of an event: validated when the event is stored, built when it is sent."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from apps.event_sync.models import EventSync

# Bytes of a message, and of all messages of a request together; messages of a request.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BYTES = 1024 * 1024
MAX_BATCH = 10

# The longest values possible: the id is only known after the row has been stored.
LONGEST_EVENT_ID = 2**63 - 1
LONGEST_TIMESTAMP = 1234567890.123456

# A NUL in JSON, after an even number of backslashes. Not every database can store it.
ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# Valid ids of a message group: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_GROUP = re.compile(r"[!-~]{1,128}")


class EventRefusedError(ValueError):
    """The event can never be sent as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event in the format of SQS."""

    event_id: int
    body: str
    size: int
    """Bytes of the body in UTF-8."""
    group: str
    deduplication_id: str
    traceparent: str = ""


def as_json(name: str, value: object) -> Any:
    """Return a value as it is after a round trip through JSON: dates and UUIDs become strings.

    Raises ``EventRefusedError`` for values that JSON (NaN, unknown types), the database (NUL) or
    SQS (unpaired surrogates) does not support.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise EventRefusedError(f"{name} contains an unpaired surrogate") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise EventRefusedError(f"{name} cannot be converted to JSON: {error}") from error
    if ESCAPED_NUL.search(text):
        raise EventRefusedError(f"{name} contains a NUL character")
    return json.loads(text)


def check_size(event: EventSync) -> None:
    """Raise ``EventRefusedError`` if the message, with the longest id, exceeds 1 MiB in UTF-8."""
    size = len(_encode(_envelope(event, LONGEST_EVENT_ID, LONGEST_TIMESTAMP)).encode())
    if size > MAX_BYTES:
        raise EventRefusedError(f"the message has {size} bytes; SQS accepts {MAX_BYTES}")


def envelope(event: EventSync) -> dict[str, Any]:
    """Return the content of the message of a stored event. It is the same for every attempt."""
    return _envelope(event, event.pk, event.created.timestamp())


def build_message(event: EventSync) -> Message:
    """Return the message of a stored event."""
    body = _encode(envelope(event))
    return Message(
        event_id=event.pk,
        body=body,
        size=len(body.encode()),
        group=_group(event.obj_key),
        deduplication_id=_deduplication_id(event),
        traceparent=event.traceparent,
    )


def pack(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Split messages into requests of at most 10 messages and 1 MiB."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == MAX_BATCH or size + message.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message.size
    if batch:
        yield batch


def pack_in_order(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Split messages for a FIFO queue into requests that can be sent concurrently.

    All messages of a group are in one request, in order. Messages of a group that do not fit into
    that request are left out.
    """
    groups: dict[str, list[Message]] = {}
    for message in messages:
        groups.setdefault(message.group, []).append(message)
    batch: list[Message] = []
    for group in groups.values():
        of_group = next(pack(group))
        if next(pack(batch + of_group)) != batch + of_group:
            yield batch
            batch = []
        batch += of_group
    if batch:
        yield batch


def _envelope(event: EventSync, event_id: int, timestamp: float) -> dict[str, Any]:
    return {
        "apps": event.apps,
        "data": {
            "obj_type": event.obj_type,
            "obj_data": {**event.obj_data, "event_id": event_id},
            "obj_cmd": event.obj_cmd,
        },
        "timestamp": timestamp,
    }


def _encode(message: dict[str, Any]) -> str:
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # SQS would replace these two characters. JSON escapes all others that SQS does not accept.
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _deduplication_id(event: EventSync) -> str:
    """Return the id by which SQS recognizes a repeated message: the same for each attempt.

    It contains the time because other services, or a recreated database, have events with this id.
    An event that is sent again on purpose gets another id.
    """
    stored = f"{event.pk}-{event.created:%Y%m%d%H%M%S%f}"
    return f"{stored}-{event.message_id}"[:128] if event.message_id else stored


def _group(obj_key: str) -> str:
    if _GROUP.fullmatch(obj_key):
        return obj_key
    return hashlib.sha256(obj_key.encode()).hexdigest()
