"""Store an event in the caller's transaction, and send it when that commits."""

import hashlib
import uuid
from typing import Any

from django.db import connections, router

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.after_commit import send_after_commit
from apps.event_sync.outgoing.messages import EventRefusedError, as_json, check_size
from common import telemetry

_MAX_OBJ_TYPE = 200
_MAX_OBJ_KEY = 255


class ProducerMsg:
    """An event for other services.

    ``apps`` contains the target services, ``obj_type`` the type of the object, ``obj_data`` its data
    (a dict; ``event_id`` is added when it is sent), and ``obj_cmd`` is ``"put"`` or ``"delete"``.

    Events with the same ``obj_key`` stay in order if the queue is FIFO. By default it is the type
    with ``obj_data["id"]``; an event without an id waits for no other.
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
        """Store the event in the current transaction, and return its row.

        It is sent after the transaction commits, by this process or by the relay. The caller does
        not see a failure to send it. Raises ``EventRefusedError`` for an event that can never be
        sent: not JSON, more than 1 MiB, or another command than put and delete.
        """
        event = self._checked()
        event.save()
        connection = connections[router.db_for_write(EventSync)]
        send_after_commit(event.pk)
        if not connection.in_atomic_block:
            # The first attempt has already been made.
            event.refresh_from_db(using=connection.alias)
        return event

    def get_obj_key(self) -> str:
        """Return the key of the object, at most 255 characters."""
        if self.obj_key is not None:
            return self.obj_key
        pk = self.obj_data.get("id")
        key = f"{self.obj_type}:{uuid.uuid4() if pk is None else pk}"
        if len(key) > _MAX_OBJ_KEY:
            return hashlib.sha256(key.encode()).hexdigest()
        return key

    def _checked(self) -> EventSync:
        if self.obj_cmd not in EventSync.Command.values:
            raise EventRefusedError(f"obj_cmd must be put or delete, not {self.obj_cmd!r}")
        if not isinstance(self.obj_type, str) or not 0 < len(self.obj_type) <= _MAX_OBJ_TYPE:
            raise EventRefusedError("obj_type must be a string of 1 to 200 characters")
        if not isinstance(self.obj_data, dict):
            raise EventRefusedError("obj_data must be a dict")
        if "event_id" in self.obj_data:
            raise EventRefusedError(
                "obj_data must not contain event_id; it is added when the event is sent"
            )
        event = EventSync(
            apps=as_json("apps", self.apps),
            obj_type=as_json("obj_type", self.obj_type),
            obj_data=as_json("obj_data", self.obj_data),
            obj_cmd=self.obj_cmd,
            traceparent=telemetry.traceparent(),
        )
        event.obj_key = as_json("obj_key", self.get_obj_key())
        if not isinstance(event.obj_key, str) or len(event.obj_key) > _MAX_OBJ_KEY:
            raise EventRefusedError("obj_key must be a string of at most 255 characters")
        check_size(event)
        return event
