"""Producing: store an event in the caller's transaction, and have it sent once that commits."""

import hashlib
import uuid
from typing import Any

from django.db import connections, router

from apps.event_sync.at_commit import send_after_commit
from apps.event_sync.messages import EventRefusedError, as_json, check_size
from apps.event_sync.models import EventSync

_MAX_OBJ_TYPE = 200
_MAX_OBJ_KEY = 255


class ProducerMsg:
    """An event for other services.

    ``apps`` names the services it is for, ``obj_type`` what changed, ``obj_data`` its data (a
    dict; ``event_id`` is added when it is sent), ``obj_cmd`` is ``"put"`` or ``"delete"``.

    ``obj_key`` names the object whose events stay in order if the queue is FIFO. By default it
    is the type with ``obj_data["id"]``; an event without an id is an object of its own.
    """

    def __init__(
        self,
        *,
        apps: dict[str, Any],
        obj_type: str,
        obj_data: dict[str, Any],
        obj_cmd: str,
        obj_key: str | None = None,
    ) -> None:
        self.apps = apps
        self.obj_type = obj_type
        self.obj_data = obj_data
        self.obj_cmd = obj_cmd
        self.obj_key = obj_key

    def handle_msg_sync(self) -> EventSync:
        """Store the event, and return its row; roll back, and it never was.

        It is sent as soon as the transaction commits, by this process or by the relay, and no
        failure of that reaches the caller. Raises ``EventRefusedError`` at once for what could
        never be sent: no JSON, more than 1 MiB, another command than put and delete.
        """
        event = self._checked()
        event.save(force_insert=True)
        connection = connections[router.db_for_write(EventSync)]
        send_after_commit(event.pk)
        if not connection.in_atomic_block:
            # It was tried already.
            event.refresh_from_db(using=connection.alias)
        return event

    def get_obj_key(self) -> str:
        """Name the object of this event, in 255 characters at most."""
        if self.obj_key is not None:
            return self.obj_key
        pk = self.obj_data.get("id")
        key = f"{self.obj_type}:{uuid.uuid4() if pk is None else pk}"
        if len(key) > _MAX_OBJ_KEY:
            return hashlib.sha256(key.encode()).hexdigest()
        return key

    def _checked(self) -> EventSync:
        if self.obj_cmd not in EventSync.Command.values:
            raise EventRefusedError(f"obj_cmd is {self.obj_cmd!r}, and must be put or delete")
        if not isinstance(self.obj_type, str) or not 0 < len(self.obj_type) <= _MAX_OBJ_TYPE:
            raise EventRefusedError("obj_type must be a string of 1 to 200 characters")
        if not isinstance(self.obj_data, dict):
            raise EventRefusedError("obj_data must be a dict")
        if "event_id" in self.obj_data:
            raise EventRefusedError("obj_data has an event_id, which is added when it is sent")
        event = EventSync(
            apps=as_json("apps", self.apps),
            obj_type=as_json("obj_type", self.obj_type),
            obj_data=as_json("obj_data", self.obj_data),
            obj_cmd=self.obj_cmd,
        )
        event.obj_key = as_json("obj_key", self.get_obj_key())
        if not isinstance(event.obj_key, str) or len(event.obj_key) > _MAX_OBJ_KEY:
            raise EventRefusedError("obj_key must be a string of 255 characters at most")
        check_size(event)
        return event
