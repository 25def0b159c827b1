"""The relay: send what is due, for as long as it is told to.

One thread asks the database: it claims events, hands them out in batches, and notes what came
of them. The others only talk to SQS. No transaction is open meanwhile.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from django.db import Error as DatabaseError
from structlog import get_logger

from apps.event_sync import outbox
from apps.event_sync.messages import MAX_BATCH, Message, build_message, pack, pack_in_order
from apps.event_sync.models import EventSync
from apps.event_sync.outbox import Failed, Sent
from apps.event_sync.sending import Answer, jitter, send_batch, settle
from apps.event_sync.wakeup import SLICE, make_waiter
from common.sqs.sqs_sync import is_fifo, sqs_client
from common.tracebacks import describe_error

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = get_logger(__name__)

# Seconds that a request may take; and until no batch is sent of a claim that is this old, for
# its lease might end before the answer comes.
CONNECT_TIMEOUT = 2
READ_TIMEOUT = 5
FRESH = outbox.LEASE - 2 * (CONNECT_TIMEOUT + READ_TIMEOUT)

# Seconds from a SIGTERM until requests that still have no answer are left to their lease.
GRACE = CONNECT_TIMEOUT + READ_TIMEOUT + 1

# Outcomes are noted together, but none later than so many seconds.
NOTE_AFTER = 0.2
NOTE_AT = 100

# Seconds between two claims that take nothing although something is due.
RETRY_AFTER = 0.05

# Batches that are claimed for each thread.
RESERVE = 8

# Waits after an outage of SQS or of the database double from the one to the other, in seconds.
FIRST_PAUSE = 1
LONGEST_PAUSE = 60


@dataclass(frozen=True, slots=True)
class _Batch:
    events: Sequence[EventSync]
    messages: Sequence[Message]
    claimed_at: float

    def is_fresh(self) -> bool:
        return time.monotonic() - self.claimed_at < FRESH

    def leases(self) -> list[tuple[int, str]]:
        return [(event.pk, event.lease) for event in self.events]


class Outage:
    """How long to wait, each time longer, until something answers again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        self._until = 0.0
        self.error = ""

    def __bool__(self) -> bool:
        """Say whether the last try failed."""
        return self._failures > 0

    def remaining(self) -> float:
        """Return the seconds until the next try."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, error: str) -> None:
        """Note a failure. Those of requests that were under way together count once."""
        if self.remaining():
            return
        pause = jitter(min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE))
        self._failures += 1
        self._until = time.monotonic() + pause
        self.error = error
        logger.warning("event_sync_outage", of=self._name, error=error, pause=round(pause, 1))

    def end(self) -> None:
        """Note that it answers."""
        if self._failures:
            logger.info("event_sync_outage_over", of=self._name)
        self._failures, self._until = 0, 0.0


class Relay:
    """Sends due events to one queue, with so many requests at a time."""

    def __init__(
        self, queue_url: str, *, threads: int = 4, client: "SQSClient | None" = None
    ) -> None:
        self._queue_url = queue_url
        self._threads = threads
        self._client = client or sqs_client(
            queue_url, connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT
        )
        self._in_order = is_fifo(queue_url)
        self._stopped = False
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="event-sync")
        self._ready: deque[_Batch] = deque()
        self._in_flight: dict[Future[Answer], _Batch] = {}
        self._sent: list[Sent] = []
        self._failed: list[Failed] = []
        self._noted_at = time.monotonic()
        self.outage = Outage("sqs")
        self._database_outage = Outage("database")
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Finish what is under way and claim nothing more; safe in a signal's handler."""
        self._stopped = True

    def is_stopped(self) -> bool:
        return self._stopped

    def run(self) -> None:
        """Send what is due and what becomes due, until told to stop."""
        started = False
        with make_waiter() as waiter:
            while not self._stopped:
                try:
                    if not started:
                        outbox.unblock_all()
                        started = True
                    busy = self._step()
                except DatabaseError as error:
                    self._database_outage.begin(describe_error(error))
                    self._forget_connection()
                    waiter.wait(self.is_stopped, seconds=self._database_outage.remaining())
                    continue
                self._database_outage.end()
                if busy:
                    continue
                if self.outage:
                    waiter.wait(self.is_stopped, seconds=self.outage.remaining())
                else:
                    waiter.wait(self.is_stopped)
        self._finish()

    def run_once(self) -> None:
        """Send until nothing is due, or until SQS does not answer."""
        while not (self._stopped or self.outage) and self._step():
            pass
        self._finish()

    def _step(self) -> bool:
        """Do what can be done now; say whether there was anything."""
        if self.outage.remaining():
            self._give_back()
        claimed = self._claim()
        self._hand_out()
        # Before the results are recorded: they may make the next events of an object due.
        busy = claimed or any((self._ready, self._in_flight, self._sent, self._failed))
        self._collect(SLICE)
        self._note_in_time()
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
        outbox.release((event.pk, event.lease) for event in events.values())
        if claimed or not (self._in_order and outbox.is_anything_due()):
            return bool(claimed)
        # It found only events that wait for an earlier one of their object, or whose row someone
        # else has locked, perhaps for long.
        time.sleep(RETRY_AFTER)
        return True

    def _hand_out(self) -> None:
        """Give the threads one batch more than they can send, so that none waits for the next."""
        while self._ready and len(self._in_flight) <= self._threads:
            batch = self._ready.popleft()
            if batch.is_fresh():
                future = self._executor.submit(
                    send_batch, self._client, self._queue_url, batch.messages
                )
                self._in_flight[future] = batch
            else:
                outbox.release(batch.leases())

    def _give_back(self) -> None:
        """Let another relay have what nobody has tried to send."""
        for future in [future for future in self._in_flight if future.cancel()]:
            self._ready.append(self._in_flight.pop(future))
        while self._ready:
            outbox.release(self._ready[0].leases())
            self._ready.popleft()

    def _collect(self, timeout: float) -> None:
        """Wait for an answer, and take all that have come."""
        done, _others = wait(self._in_flight, timeout, FIRST_COMPLETED)
        for future in done:
            answer = future.result()
            batch = self._in_flight.pop(future)
            sent, failed = settle(batch.events, answer)
            self._sent += sent
            self._failed += failed
            if answer.outage:
                self.outage.begin(answer.outage)
            elif not self.outage.remaining():
                self.outage.end()

    def _note_in_time(self) -> None:
        """Note outcomes together, but soon; at once where the next of an object waits for it."""
        outcomes = len(self._sent) + len(self._failed)
        if not outcomes:
            self._noted_at = time.monotonic()
            return
        idle = not (self._ready or self._in_flight)
        late = time.monotonic() - self._noted_at > NOTE_AFTER
        if self._in_order or idle or late or outcomes >= NOTE_AT:
            self._note()

    def _note(self) -> None:
        """Write the outcomes down; those that a failing database did not take stay here."""
        if self._sent:
            self._count(
                "sent", len(self._sent), outbox.mark_sent(self._sent, in_order=self._in_order)
            )
            self._sent = []
        if self._failed:
            self._count("failed", len(self._failed), outbox.mark_failed(self._failed))
            for event in self._failed:
                if event.dead:
                    self.counts["dead"] += 1
                    logger.error("event_sync_dead", event_id=event.event_id, error=event.error)
            self._failed = []
        self._noted_at = time.monotonic()

    def _count(self, outcome: str, events: int, noted: int) -> None:
        self.counts[outcome] += noted
        if noted < events:
            # Another relay has claimed them since, and sends them again.
            self.counts["lease_lost"] += events - noted
            logger.warning("event_sync_lease_lost", outcome=outcome, events=events - noted)

    def _forget_connection(self) -> None:
        """Have the next query connect anew."""
        with suppress(DatabaseError):
            outbox.outbox_connection().close()

    def _finish(self) -> None:
        """Give back what was not tried, and note the answers that still come in time."""
        try:
            self._give_back()
            until = time.monotonic() + GRACE
            while self._in_flight and time.monotonic() < until:
                self._collect(until - time.monotonic())
            self._note()
        except DatabaseError as error:
            logger.warning("event_sync_left_to_the_lease", error=error)
