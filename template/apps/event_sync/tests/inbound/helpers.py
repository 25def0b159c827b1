"""Helpers of the tests of confirmations."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from apps.event_sync import handlers
from apps.event_sync.handlers import Handler, event_handler
from apps.event_sync.models import EventSync

TYPE = "test_event_sync"


def make_event(obj_type: str = TYPE, obj_cmd: str = "put", obj_key: str = "1") -> EventSync:
    """Store an event that was sent."""
    return EventSync.objects.create(
        obj_type=obj_type, obj_cmd=obj_cmd, obj_key=obj_key, state=EventSync.State.SENT
    )


def confirmation(event: EventSync, **obj_data: Any) -> dict[str, Any]:
    """Return the confirmation that another service sends for an event."""
    return {
        "obj_type": event.obj_type,
        "obj_data": {"event_id": event.pk, **obj_data},
        "obj_cmd": event.obj_cmd,
    }


@contextmanager
def handled_by(function: Handler, obj_type: str = "invoice") -> Iterator[None]:
    """Register a handler during the block."""
    event_handler(obj_type)(function)
    try:
        yield
    finally:
        del handlers._handlers[obj_type]


def refresh(event: EventSync) -> EventSync:
    event.refresh_from_db()
    return event
