"""What is done when another service confirms one of our events, by the event's ``obj_type``.

Each app declares its own, in a module that its ``AppConfig.ready`` imports::

    @event_handler("invoice")
    def invoice_confirmed(event: EventSync, obj_data: dict[str, Any]) -> None:
        Invoice.objects.filter(pk=obj_data["id"]).update(booked_at=timezone.now())

``event`` is our own row, locked, and ``obj_data`` what the other service sent back: text from
outside, to be checked as such. The handler runs in a transaction that also marks the event
processed. So it takes effect once, however often the confirmation comes; what it raises takes
back all that it wrote, and the other service tries again. What leaves the database, such as a
call to a third service, belongs into ``transaction.on_commit`` or a task.
"""

from collections.abc import Callable
from typing import Any

from apps.event_sync.models import EventSync

type Handler = Callable[[EventSync, dict[str, Any]], None]

_handlers: dict[str, Handler] = {}


def event_handler[F: Handler](obj_type: str) -> Callable[[F], F]:
    """Declare what confirms the events of one type. Raises ``ValueError`` for a second one."""

    def register(function: F) -> F:
        if obj_type in _handlers:
            raise ValueError(f"The events {obj_type!r} have two handlers.")
        _handlers[obj_type] = function
        return function

    return register


def get_handler(obj_type: str) -> Handler | None:
    return _handlers.get(obj_type)


@event_handler("test_event_sync")
def test_event_sync(event: EventSync, obj_data: dict[str, Any]) -> None:
    """The example: nothing is to be done but what happens to every event, to mark it processed."""
