"""Sending at once: what a transaction has stored leaves as it commits, where that is cheap."""

import threading
import time
from collections import deque

from django.conf import settings
from django.db import transaction
from structlog import get_logger

from apps.event_sync import outbox
from apps.event_sync.messages import MAX_BATCH, build_message, pack
from apps.event_sync.sending import send_batch, settle
from apps.event_sync.wakeup import wake_relays
from common.sqs.sqs_sync import is_fifo, sqs_client

logger = get_logger(__name__)

# Seconds that a request waits for SQS at most, and for which it no longer tries after a failure.
CONNECT_TIMEOUT = 1
READ_TIMEOUT = 2
PAUSE = 30


class _Thread(threading.local):
    """The events that the transaction of this thread has stored.

    Those of a transaction that was rolled back stay here, and are not found in the table.
    """

    def __init__(self) -> None:
        self.event_ids: deque[int] = deque(maxlen=10 * MAX_BATCH)


class Breaker:
    """Remembers that SQS did not answer, so that not every request waits for it."""

    def __init__(self) -> None:
        self._until = 0.0

    def allows(self) -> bool:
        return time.monotonic() >= self._until

    def trip(self) -> None:
        self._until = time.monotonic() + PAUSE

    def reset(self) -> None:
        self._until = 0.0


_thread = _Thread()
breaker = Breaker()


def send_after_commit(event_id: int) -> None:
    """Have the stored event sent when this transaction commits, and never when it does not."""
    _thread.event_ids.append(event_id)
    # robust: the row is stored, and the relay finds it; no failure here is the caller's.
    transaction.on_commit(_send_stored, using=outbox.outbox_connection().alias, robust=True)


def _send_stored() -> None:
    """Send the transaction's events in one request, and leave what is beyond that to the relay.

    The first of the transaction's hooks does it for all. A savepoint that was rolled back took
    its hooks with it, and its rows.
    """
    event_ids = list(_thread.event_ids)
    _thread.event_ids.clear()
    if not event_ids or not settings.SQS_QUEUE_URL:
        return
    at_once = settings.EVENT_SYNC_SEND_AT_COMMIT and breaker.allows()
    tried = _send(event_ids) if at_once else 0
    if tried < len(event_ids):
        wake_relays()


def _send(event_ids: list[int]) -> int:
    """Send the first of these in one request; return how many were in it."""
    queue_url = settings.SQS_QUEUE_URL
    in_order = is_fifo(queue_url)
    claimed = outbox.claim(MAX_BATCH, in_order=in_order, only=event_ids)
    batch = next(pack(map(build_message, claimed)), [])
    # The ids ascend in both: what did not fit into one request is at the end.
    events, left = claimed[: len(batch)], claimed[len(batch) :]
    outbox.release((event.pk, event.lease) for event in left)
    if not batch:
        return 0
    client = sqs_client(queue_url, connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT)
    answer = send_batch(client, queue_url, batch)
    if answer.outage:
        breaker.trip()
        logger.warning("event_sync_not_sent_at_commit", error=answer.outage)
    outbox.record_results(*settle(events, answer), in_order=in_order)
    return len(batch)
