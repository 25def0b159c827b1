"""What an event looks like on its way: checked when it is stored, written when it is sent."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from apps.event_sync.models import EventSync

# Bytes of one message, and of all messages of one request together; messages of one request.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BYTES = 1024 * 1024
MAX_BATCH = 10

# The longest that the database gives: the id is known only once the row is stored.
LONGEST_EVENT_ID = 2**63 - 1
LONGEST_TIMESTAMP = 1234567890.123456

# A NUL as JSON writes it, behind an even number of backslashes: not every database stores one.
ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

# What SQS takes as the id of a group: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
_GROUP = re.compile(r"[!-~]{1,128}")


class EventRefusedError(ValueError):
    """The event cannot be sent as it is, today or ever; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event as SQS takes it."""

    event_id: int
    body: str
    size: int
    """Bytes of the body in UTF-8."""
    group: str
    deduplication_id: str


def as_json(name: str, value: object) -> Any:
    """Return what JSON makes of a value: dates, decimals and UUIDs become strings.

    Raises ``EventRefusedError`` for what no JSON can say (NaN, unknown types), and for what
    the database or SQS cannot hold (NUL, halves of surrogate pairs).
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError as error:
        raise EventRefusedError(f"{name} holds half of a surrogate pair") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise EventRefusedError(f"{name} is not JSON: {error}") from error
    if ESCAPED_NUL.search(text):
        raise EventRefusedError(f"{name} holds a NUL character")
    return json.loads(text)


def check_size(event: EventSync) -> None:
    """Refuse an event whose whole message, with the longest id, is more than 1 MiB in UTF-8."""
    size = len(_encode(_envelope(event, LONGEST_EVENT_ID, LONGEST_TIMESTAMP)).encode())
    if size > MAX_BYTES:
        raise EventRefusedError(f"the message has {size} bytes; SQS takes {MAX_BYTES}")


def envelope(event: EventSync) -> dict[str, Any]:
    """Return the message of a stored event; every attempt sends the same."""
    return _envelope(event, event.pk, event.created.timestamp())


def build_message(event: EventSync) -> Message:
    """Write a stored event as SQS takes it."""
    body = _encode(envelope(event))
    return Message(
        event_id=event.pk,
        body=body,
        size=len(body.encode()),
        group=_group(event.obj_key),
        deduplication_id=_deduplication_id(event),
    )


def pack(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Split messages into what one request takes: 10 of them, and 1 MiB."""
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
    """Split messages into batches that may be sent at the same time, for a FIFO queue.

    All messages of a group are in one batch, in their order. Those of a group that do not fit
    into one request are left out.
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
    # The two characters that SQS would replace; all others that it does not take, JSON escapes.
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _deduplication_id(event: EventSync) -> str:
    """Return what SQS knows a repeated message by: each attempt has the same.

    The time is in it because other services, or a database created again, have events of this
    id. What SQS took before, and is sent again on purpose, is another message.
    """
    stored = f"{event.pk}-{event.created:%Y%m%d%H%M%S%f}"
    return f"{stored}-{event.message_id}"[:128] if event.message_id else stored


def _group(obj_key: str) -> str:
    if _GROUP.fullmatch(obj_key):
        return obj_key
    return hashlib.sha256(obj_key.encode()).hexdigest()
