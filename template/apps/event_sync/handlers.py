"""The registry of handlers, which run when another service confirms one of our events.

Register the handler of an ``obj_type`` in a module that ``AppConfig.ready`` of your app imports::

    @event_handler("invoice")
    def invoice_confirmed(event: EventSync, obj_data: dict[str, Any]) -> None:
        Invoice.objects.filter(pk=obj_data["id"]).update(booked_at=timezone.now())

``event`` is our own row, locked. ``obj_data`` is what the other service sent: validate it like any
input. The handler runs in the transaction that marks the event as processed, so it takes effect
once, however often the confirmation arrives. If it raises an exception, its writes are rolled
back and the other service tries again. Call other services in ``transaction.on_commit`` or in a task.
"""

from collections.abc import Callable
from typing import Any

from apps.event_sync.models import EventSync

type Handler = Callable[[EventSync, dict[str, Any]], None]

_handlers: dict[str, Handler] = {}


def event_handler[F: Handler](obj_type: str) -> Callable[[F], F]:
    """Register the handler of an object type. Raises ``ValueError`` if there already is one."""

    def register(function: F) -> F:
        if obj_type in _handlers:
            raise ValueError(f"There are two handlers for {obj_type!r}.")
        _handlers[obj_type] = function
        return function

    return register


def get_handler(obj_type: str) -> Handler | None:
    return _handlers.get(obj_type)


@event_handler("test_event_sync")
def test_event_sync(event: EventSync, obj_data: dict[str, Any]) -> None:
    """An example. It does nothing, and the event is marked as processed."""
