"""The relay: send events as they become due.

One thread uses the database: it claims events, submits them in batches, and records the results.
The others only send requests to SQS. No transaction is open meanwhile.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import Error as DatabaseError
from structlog import get_logger

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox
from apps.event_sync.outgoing.messages import (
    MAX_BATCH,
    Message,
    build_message,
    pack,
    pack_in_order,
)
from apps.event_sync.outgoing.outage import Outage
from apps.event_sync.outgoing.outbox import Failed, Sent
from apps.event_sync.outgoing.retry import FIRST_PAUSE, LONGEST_PAUSE, results_of
from apps.event_sync.outgoing.sending import Answer, send_batch
from common.sqs.sqs_sync import is_fifo, sqs_client
from common.stopping import Stop, Stopped
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

# Seconds to wait for a response before the next look at the database.
SLICE = 0.25

# Results are recorded together: after so many seconds, or as soon as there are so many.
RECORD_AFTER = 0.2
RECORD_AT = 100

# Seconds between two claims that return nothing although something is due.
RETRY_AFTER = 0.05

# Batches that are claimed for each thread.
RESERVE = 8


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[EventSync]
    messages: Sequence[Message]
    claimed_at: float

    def is_fresh(self) -> bool:
        return time.monotonic() - self.claimed_at < FRESH


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
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="event-sync")
        self._ready: deque[_Batch] = deque()
        self._in_flight: dict[Future[Answer], _Batch] = {}
        self._sent: list[Sent] = []
        self._failed: list[Failed] = []
        self._recorded_at = time.monotonic()
        self.outage = Outage("sqs")
        self._database_outage = Outage("database")
        self.counts: Counter[str] = Counter()

    def run(self, *, until_empty: bool = False) -> None:
        """Send events until the process is to stop; or until nothing is due or SQS is down."""
        try:
            with suppress(Stopped):
                if until_empty:
                    while not (self._stop.requested or self.outage) and self._step():
                        pass
                else:
                    self._run_until_stopped()
            with suppress(Stopped):
                self._finish()
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _run_until_stopped(self) -> None:
        started = False
        while not self._stop.requested:
            try:
                if not started:
                    outbox.unblock_all()
                    started = True
                busy = self._step()
            except DatabaseError as error:
                self._database_outage.begin(
                    describe_error(error), first=FIRST_PAUSE, longest=LONGEST_PAUSE
                )
                with suppress(DatabaseError):
                    outbox.outbox_connection().close()
                self._stop.sleep(self._database_outage.remaining())
                continue
            self._database_outage.end()
            if not busy:
                self._stop.sleep(self.outage.remaining() if self.outage else POLL_INTERVAL)

    def _step(self) -> bool:
        """Do what can be done now, and return whether there was anything."""
        if self.outage.remaining():
            self._release_unsent()
        claimed = self._claim()
        self._submit()
        # Before the results are recorded: they may make the next events of an object due.
        busy = claimed or any((self._ready, self._in_flight, self._sent, self._failed))
        self._collect(SLICE)
        self._record_in_time()
        return busy

    def _claim(self) -> bool:
        """Hold some batches in reserve; after an outage, try with a single one."""
        if self.outage.remaining():
            return False
        reserve = 1 if self.outage else RESERVE * self._threads
        held = len(self._ready) + len(self._in_flight)
        if held >= reserve or (held > self._threads and reserve > 1):
            return False
        now = time.monotonic()
        claimed = outbox.claim((reserve - held) * MAX_BATCH, in_order=self._in_order)
        events = {event.pk: event for event in claimed}
        split = pack_in_order if self._in_order else pack
        for messages in split(map(build_message, claimed)):
            batch = [events.pop(message.event_id) for message in messages]
            self._ready.append(_Batch(batch, messages, now))
        outbox.release(events.values())
        if claimed or not (self._in_order and outbox.is_anything_due()):
            return bool(claimed)
        # The due events wait for an earlier one of their object, or another process has locked
        # their rows, perhaps for long.
        time.sleep(RETRY_AFTER)
        return True

    def _submit(self) -> None:
        """Submit one batch more than the threads can send, so that none waits for the next."""
        while self._ready and len(self._in_flight) <= self._threads:
            batch = self._ready.popleft()
            if batch.is_fresh():
                future = self._executor.submit(
                    send_batch, self._client, self._queue_url, batch.messages
                )
                self._in_flight[future] = batch
            else:
                outbox.release(batch.events)

    def _release_unsent(self) -> None:
        """Let other relays claim the events that no thread has begun to send."""
        for future in [future for future in self._in_flight if future.cancel()]:
            self._ready.append(self._in_flight.pop(future))
        while self._ready:
            outbox.release(self._ready[0].events)
            self._ready.popleft()

    def _collect(self, timeout: float | None) -> None:
        """Wait for a response, and read all that have arrived."""
        done, _others = wait(self._in_flight, timeout, FIRST_COMPLETED)
        for future in done:
            answer = future.result()
            batch = self._in_flight.pop(future)
            sent, failed = results_of(batch.events, answer)
            self._sent += sent
            self._failed += failed
            if answer.outage:
                self.outage.begin(answer.outage, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
            elif not self.outage.remaining():
                self.outage.end()

    def _record_in_time(self) -> None:
        """Record results together but soon; at once if the next of an object waits for them."""
        results = len(self._sent) + len(self._failed)
        if not results:
            self._recorded_at = time.monotonic()
            return
        idle = not (self._ready or self._in_flight)
        late = time.monotonic() - self._recorded_at > RECORD_AFTER
        if self._in_order or idle or late or results >= RECORD_AT:
            self._record()

    def _record(self) -> None:
        """Record the results. Those that the database does not accept are kept for the next time."""
        with outbox.atomic():
            sent = outbox.record_sent(self._sent, in_order=self._in_order)
            failed = outbox.record_failed(self._failed)
        self._count("sent", len(self._sent), sent)
        self._count("failed", len(self._failed), failed)
        for event in self._failed:
            if event.dead:
                self.counts["dead"] += 1
                logger.error("event_sync_dead", event_id=event.event_id, error=event.error)
        self._sent, self._failed = [], []
        self._recorded_at = time.monotonic()

    def _count(self, result: str, events: int, recorded: int) -> None:
        if events:
            self.counts[result] += recorded
        if recorded < events:
            # Another relay has claimed them since, and sends them again.
            self.counts["lease_lost"] += events - recorded
            logger.warning("event_sync_lease_lost", outcome=result, events=events - recorded)

    def _finish(self) -> None:
        """Release what was not sent, and record the responses that arrive before the deadline."""
        try:
            self._release_unsent()
            with suppress(Stopped):
                while self._in_flight:
                    self._collect(None)
            if self._sent or self._failed:
                self._record()
        except DatabaseError as error:
            logger.warning("event_sync_left_to_the_lease", error=error)
