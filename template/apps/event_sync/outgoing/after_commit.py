"""Send events as soon as their transaction commits, without waiting for the relay."""

import threading
from collections import deque

from django.conf import settings
from django.db import transaction

from apps.event_sync.outage import Outage
from apps.event_sync.outgoing import outbox
from apps.event_sync.outgoing.messages import MAX_BATCH, build_message, pack
from apps.event_sync.outgoing.sending import send_batch
from common.sqs.sqs_sync import is_fifo, sqs_client

# Seconds that a web request waits for SQS at most.
CONNECT_TIMEOUT = 1
READ_TIMEOUT = 2

# After a failed request, seconds during which web requests leave their events to the relay.
PAUSE = 30


class _Thread(threading.local):
    """The events that this thread's transaction has stored.

    Those of a transaction that was rolled back stay here, and are not found in the table.
    """

    def __init__(self) -> None:
        self.event_ids: deque[int] = deque(maxlen=10 * MAX_BATCH)


_thread = _Thread()
outage = Outage("sqs", first=PAUSE, longest=PAUSE)


def send_after_commit(event_id: int) -> None:
    """Send the stored event when this transaction commits, and never if it is rolled back."""
    _thread.event_ids.append(event_id)
    # robust: the row is stored and the relay will find it, so a failure here is not the caller's.
    transaction.on_commit(_send_stored, using=outbox.outbox_connection().alias, robust=True)


def _send_stored() -> None:
    """Send the transaction's events in one request, and leave the rest to the relay.

    The transaction's first hook does it for all. A savepoint that was rolled back took its hooks
    and its rows with it.
    """
    event_ids = list(_thread.event_ids)
    _thread.event_ids.clear()
    queue_url = settings.SQS_QUEUE_URL
    if not (event_ids and queue_url and settings.EVENT_SYNC_SEND_AT_COMMIT) or outage.remaining():
        return
    in_order = is_fifo(queue_url)
    events = outbox.claim(MAX_BATCH, in_order=in_order, only=event_ids)
    if not events:
        return
    # Both are in the order of the ids: what does not fit into one request is at the end.
    batch = next(pack(map(build_message, events)))
    client = sqs_client(queue_url, connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT)
    answer = send_batch(client, queue_url, batch)
    if answer.outage:
        outage.begin(answer.outage)
    else:
        outage.end()
    outbox.record(events, answer, in_order=in_order)
