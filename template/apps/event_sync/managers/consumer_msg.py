"""Process another service's confirmation of one of our events, from the API or the queue."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from django.db import router, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from structlog import get_logger

from apps.event_sync.errors import (
    EventMismatchError,
    HandlerFailedError,
    PayloadConflictError,
    UnknownEventError,
    UnknownObjTypeError,
)
from apps.event_sync.handlers import get_handler
from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.messages import ESCAPED_NUL, LONGEST_EVENT_ID

logger = get_logger(__name__)

# Characters. Older lines are dropped, so that repeated errors cannot fill the table.
LONGEST_LOG = 10_000


@dataclass(frozen=True, kw_only=True)
class ConsumerMsg:
    """A confirmation: the type and command of the event, and data with its ``event_id``."""

    obj_type: str
    obj_data: dict[str, Any]
    obj_cmd: str

    def handle_msg_sync(self) -> EventSync:
        """Run the handler of this type, mark the event as processed, and return it.

        The handler's writes and the mark are one transaction, and the row is locked. So the handler
        runs once, even if the same confirmation arrives again or twice at the same time. Errors are
        written to the ``log`` of the event.

        Raises ``ValidationError`` (no valid ``event_id``, or raised by the handler),
        ``UnknownEventError``, ``UnknownObjTypeError``, ``EventMismatchError`` (the event has another
        type or command), ``PayloadConflictError`` (it was confirmed with other data), and
        ``HandlerFailedError`` for any other exception of the handler.
        """
        event_id, digest = event_id_of(self.obj_data), self._digest()
        try:
            # Two transactions, since events may be in a database of their own.
            with _transaction(), transaction.atomic(savepoint=False):
                event = _lock(event_id)
                self._process(event, digest)
        except UnknownEventError:
            raise
        except (ValidationError, EventMismatchError, PayloadConflictError) as error:
            remark = f"refused: {json.dumps(error.get_codes())}"
            self._log(event_id, remark, received=isinstance(error, ValidationError))
            raise
        except Exception as error:
            logger.exception("event_handler_failed", event_id=event_id, obj_type=self.obj_type)
            self._log(event_id, f"{type(error).__name__}: {error}", received=True)
            raise HandlerFailedError from error
        return event

    def _process(self, event: EventSync, digest: str) -> None:
        if event.processed is not None:
            if event.received_hash != digest:
                raise PayloadConflictError
            return
        handler = get_handler(self.obj_type)
        if handler is None:
            raise UnknownObjTypeError
        if (self.obj_type, self.obj_cmd) != (event.obj_type, event.obj_cmd):
            raise EventMismatchError
        handler(event, self.obj_data)
        event.received = event.received or Now()
        event.processed, event.received_hash = Now(), digest
        event.save(update_fields=["received", "processed", "received_hash"])

    def _log(self, event_id: int, remark: str, *, received: bool) -> None:
        """Add a line to the log of the event, after its transaction has been rolled back."""
        with _transaction():
            event = _lock(event_id)
            if received and event.received is None:
                event.received = Now()
            # The database can store neither unpaired surrogates nor NUL.
            clean = remark.encode(errors="replace").decode().replace("\0", "?")[:1000]
            line = f"{timezone.now().isoformat(timespec='seconds')} {self.obj_type!a} {self.obj_cmd}: {clean}"
            event.log = f"{event.log}{line}\n"[-LONGEST_LOG:]
            event.save(update_fields=["received", "log"])

    def _digest(self) -> str:
        """Return a hash of the payload that does not depend on the order of its keys.

        Raises ``ValidationError`` if it is not JSON (RFC 8259) or cannot be stored.
        """
        try:
            text = json.dumps(
                [self.obj_type, self.obj_cmd, self.obj_data],
                allow_nan=False,
                ensure_ascii=False,
                sort_keys=True,
            )
            encoded = text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise _refused(_("Must be JSON without NaN or unpaired surrogates.")) from error
        if ESCAPED_NUL.search(text):
            raise _refused(_("Null characters are not allowed."))
        return hashlib.sha256(encoded).hexdigest()


def event_id_of(obj_data: object) -> int:
    """Return the ``event_id`` in a confirmation's data. Raises ``ValidationError`` without a valid one."""
    event_id = obj_data.get("event_id") if isinstance(obj_data, dict) else None
    # Not isinstance(), which accepts True, nor an IntegerField, which accepts 1.0 and "1".
    if type(event_id) is not int or not 1 <= event_id <= LONGEST_EVENT_ID:
        raise _refused(_("event_id must be a positive integer."))
    return event_id


def _refused(message: str) -> ValidationError:
    return ValidationError({"obj_data": [message]})


def _transaction() -> transaction.Atomic:
    return transaction.atomic(using=router.db_for_write(EventSync))


def _lock(event_id: int) -> EventSync:
    events = EventSync.objects.using(router.db_for_write(EventSync))
    # no_key: another transaction may insert a foreign key to the row meanwhile.
    event = events.select_for_update(no_key=True).filter(pk=event_id).first()
    if event is None:
        raise UnknownEventError
    return event
