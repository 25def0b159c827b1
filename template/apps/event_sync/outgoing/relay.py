"""The relay: send events as they become due.

It works in rounds: claim events, send them in several requests at a time, and record the results.
Only this thread uses the database, and no transaction is open while the requests are sent.
"""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError
from structlog import get_logger

from apps.event_sync.models import EventSync
from apps.event_sync.outage import Outage
from apps.event_sync.outgoing import outbox
from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.messages import (
    MAX_BATCH,
    Message,
    build_message,
    pack,
    pack_in_order,
)
from apps.event_sync.outgoing.sending import send_batch
from common.sqs.sqs_sync import is_fifo, sqs_client
from common.stopping import Stop
from common.tracebacks import describe_error

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = get_logger(__name__)

# Seconds between two claims while nothing is due.
POLL_INTERVAL = 1.0

# Time-outs of a request, in seconds. A claim older than FRESH is not sent any more, since its lease
# might expire before the response arrives.
CONNECT_TIMEOUT = 2
READ_TIMEOUT = 5
FRESH = outbox.LEASE - 2 * (CONNECT_TIMEOUT + READ_TIMEOUT)

# Seconds between two claims that return nothing although something is due.
RETRY_AFTER = 0.05

# Batches that are claimed for each thread.
BATCHES = 8


class Relay:
    """Sends due events to one queue, with up to ``threads`` requests at a time."""

    def __init__(
        self,
        queue_url: str,
        stop: Stop,
        *,
        threads: int = 4,
        client: "SQSClient | None" = None,
    ) -> None:
        self._queue_url = queue_url
        self._stop = stop
        self._threads = threads
        self._client = client or sqs_client(
            queue_url, connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT
        )
        self._in_order = is_fifo(queue_url)
        self._fresh_until = 0.0
        # The results that the database has not accepted yet.
        self._events: list[EventSync] = []
        self._answer = Answer()
        self.outage = Outage("sqs")
        self._database_outage = Outage("database")
        self.counts: Counter[str] = Counter()

    def run(self, *, until_empty: bool = False) -> None:
        """Send events until the process is to stop; or until nothing is due or SQS is down."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="event-sync") as executor:
            while not self._stop.requested:
                try:
                    busy = self.send_due(executor)
                except DatabaseError as error:
                    if until_empty:
                        raise
                    self._await_database(error)
                    continue
                self._database_outage.end()
                if until_empty and (self.outage or not busy):
                    return
                if not busy:
                    self._stop.sleep(self.outage.remaining() or POLL_INTERVAL)

    def send_due(self, executor: ThreadPoolExecutor) -> bool:
        """Send one round of due events, and return whether there may be more."""
        self._record()
        if self.outage.remaining():
            return False
        # After an outage, try with a single batch.
        batches = 1 if self.outage else BATCHES * self._threads
        self._events = outbox.claim(batches * MAX_BATCH, in_order=self._in_order)
        if not self._events:
            return self._is_anything_due()
        self._fresh_until = time.monotonic() + FRESH
        split = pack_in_order if self._in_order else pack
        for answer in executor.map(self._send, split(map(build_message, self._events))):
            self._answer.add(answer)
        self._record()
        return True

    def _send(self, batch: Sequence[Message]) -> Answer:
        """Send a batch, unless there is no point in it any more."""
        if self._stop.requested or self.outage.remaining() or time.monotonic() > self._fresh_until:
            return Answer()
        answer = send_batch(self._client, self._queue_url, batch)
        if answer.outage:
            self.outage.begin(answer.outage)
        elif not self.outage.remaining():
            self.outage.end()
        return answer

    def _record(self) -> None:
        """Record the results. If the database does not accept them, they are kept for the next round."""
        if self._events:
            self.counts += outbox.record(self._events, self._answer, in_order=self._in_order)
        self._events, self._answer = [], Answer()

    def _is_anything_due(self) -> bool:
        """Return whether due events wait for an earlier one, or are locked by another process."""
        if not (self._in_order and outbox.is_anything_due()):
            return False
        time.sleep(RETRY_AFTER)
        return True

    def _await_database(self, error: DatabaseError) -> None:
        self._database_outage.begin(describe_error(error))
        with suppress(DatabaseError):
            outbox.outbox_connection().close()
        self._stop.sleep(self._database_outage.remaining())
