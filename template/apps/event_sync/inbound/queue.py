"""Process confirmations of other services from a queue.

A message is deleted after its effect is committed. If the process dies in between, the message
arrives again, and ``ConsumerMsg`` recognizes it. A message that fails stays in the queue, hidden
for longer after each failure, until SQS moves it to the dead-letter queue (redrive policy). In a
FIFO queue it holds back the later messages of its group.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from django.db import DEFAULT_DB_ALIAS, close_old_connections, router
from rest_framework.exceptions import APIException, ValidationError
from structlog import get_logger
from structlog.contextvars import bound_contextvars

from apps.event_sync.api.serializers import ConfirmationSerializer
from apps.event_sync.errors import HandlerFailedError
from apps.event_sync.managers.consumer_msg import ConsumerMsg
from apps.event_sync.models import EventSync
from common.backoff import backoff
from common.drf.health import check_database
from common.sqs.sqs_sync import error_code, is_temporary, sqs_client
from common.stopping import Stop, Stopped

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = get_logger(__name__)

# All in seconds. SQS waits at most 20 for a message.
LONG_POLL = 20
# How long a message stays hidden after the last heartbeat of its consumer.
VISIBILITY = 60
FIRST_DELAY, LONGEST_DELAY = 10, 15 * 60
FIRST_PAUSE, LONGEST_PAUSE = 1, 30

MAX_BATCH = 10
ATTEMPTS = 3

type Outcome = Literal["processed", "refused", "failed", "released"]


def read_body(body: str) -> ConsumerMsg:
    """Return the confirmation in a message: the body of the API call, with or without our envelope.

    Raises ``ValidationError`` for anything else.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValidationError("The message is not JSON.", "malformed") from error
    if isinstance(data, dict) and "obj_type" not in data and "data" in data:
        data = data["data"]
    return ConfirmationSerializer.read(data)


class Consumer:
    """Processes the messages of one queue one by one. Start several for more throughput."""

    def __init__(
        self,
        queue_url: str,
        stop: Stop,
        *,
        long_poll: int = LONG_POLL,
        visibility: int = VISIBILITY,
    ) -> None:
        """``long_poll`` and ``visibility`` are in seconds."""
        self._queue_url = queue_url
        self._stop = stop
        self._long_poll = long_poll
        self._visibility = visibility
        self._client = sqs_client(queue_url)
        self._poller = sqs_client(queue_url, read_timeout=long_poll + 10)
        self._outages = 0
        # Groups of a FIFO queue whose first message failed, and when to forget that.
        self._held_up: dict[str, float] = {}

    def run(self, *, until_empty: bool = False) -> Counter[Outcome]:
        """Process messages until the process is to stop, or the queue is empty. Return the outcomes."""
        outcomes: Counter[Outcome] = Counter()
        logger.info("event_sync_consumer_started", queue_url=self._queue_url)
        try:
            self._warn_without_dead_letter_queue()
            while not self._stop.requested:
                messages = self._receive()
                outcomes += self.handle(messages)
                if until_empty and not messages and not self._outages:
                    break
        except Stopped:
            pass
        logger.info("event_sync_consumer_stopped", outcomes=dict(outcomes))
        return outcomes

    def handle(self, messages: list["MessageTypeDef"]) -> Counter[Outcome]:
        """Process the messages of one request, and return their outcomes.

        "refused" messages can never be processed, "failed" ones are retried, and "released" ones
        were not looked at and can be received again at once.
        """
        if not messages:
            return Counter()
        groups: set[str] = set()
        with self._heartbeat(messages):
            outcomes = [self._process_in_order(message, groups) for message in messages]
        self._finish(zip(messages, outcomes, strict=True))
        if "failed" in outcomes:
            self._await_database()
        close_old_connections()
        logger.info("event_sync_messages_handled", outcomes=dict(Counter(outcomes)))
        return Counter(outcomes)

    def _process_in_order(self, message: "MessageTypeDef", stopped_groups: set[str]) -> Outcome:
        """Process a message, unless an earlier one of its group was not processed."""
        group = message.get("Attributes", {}).get("MessageGroupId", "")
        if self._stop.requested or group in stopped_groups:
            return "released"
        with bound_contextvars(message_id=message.get("MessageId")):
            outcome = _handle(message)
        if not group:
            return outcome
        if outcome == "processed":
            self._held_up.pop(group, None)
        else:
            stopped_groups.add(group)
            self._held_up[group] = time.monotonic() + LONGEST_DELAY * 2
        return outcome

    def _receive(self) -> list["MessageTypeDef"]:
        """Wait for messages. Return none if none arrive in time or SQS is not available."""
        try:
            with self._stop.waiting():
                answer = self._poller.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=self._batch_size(),
                    WaitTimeSeconds=self._long_poll,
                    VisibilityTimeout=self._visibility,
                    MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
                )
        except (BotoCoreError, ClientError) as error:
            logger.warning("sqs_unavailable", error=error)
            self._pause()
            return []
        self._outages = 0
        return answer.get("Messages", [])

    def _batch_size(self) -> int:
        """Return how many messages to receive: one while a group of a FIFO queue fails.

        SQS counts how often it delivers a message. The messages behind one that fails would be
        delivered with it each time, and end up in the dead-letter queue without an attempt.
        """
        now = time.monotonic()
        self._held_up = {group: until for group, until in self._held_up.items() if until > now}
        return 1 if self._held_up else MAX_BATCH

    def _finish(self, handled: Iterable[tuple["MessageTypeDef", Outcome]]) -> None:
        """Delete the processed messages, and hide the others until they are due."""
        done, waits = [], []
        for message, outcome in handled:
            if outcome == "processed":
                done.append(message)
            else:
                waits.append((message, 0 if outcome == "released" else _delay(message)))
        self._delete(done)
        self._hide(waits)

    def _delete(self, messages: list["MessageTypeDef"]) -> None:
        """Delete messages. One that stays is received again, without effect."""
        entries = [{"ReceiptHandle": message["ReceiptHandle"]} for message in messages]
        self._request("delete_message_batch", entries, failure="event_sync_messages_not_deleted")

    def _hide(self, waits: list[tuple["MessageTypeDef", int]]) -> None:
        """Hide messages for a number of seconds from now."""
        entries = [
            {"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds}
            for message, seconds in waits
        ]
        self._request(
            "change_message_visibility_batch", entries, failure="event_sync_messages_not_hidden"
        )

    def _request(
        self,
        operation: Literal["delete_message_batch", "change_message_visibility_batch"],
        entries: list[dict[str, Any]],
        *,
        failure: str,
    ) -> None:
        """Send a batch request, and retry the entries that failed for a reason that may pass."""
        waiting = {str(number): {"Id": str(number)} | entry for number, entry in enumerate(entries)}
        for attempt in range(ATTEMPTS):
            if not waiting:
                return
            if attempt:
                time.sleep(backoff(attempt, first=0.4, longest=0.8))
            call: Any = getattr(self._client, operation)
            try:
                answer = call(QueueUrl=self._queue_url, Entries=list(waiting.values()))
            except (BotoCoreError, ClientError) as error:
                logger.warning(failure, error=error)
                continue
            failures = answer.get("Failed", [])
            if failures:
                logger.warning(failure, failures=failures)
            # An expired receipt handle, for example, is not retried.
            waiting = {
                entry["Id"]: waiting[entry["Id"]]
                for entry in failures
                if is_temporary(error_code(entry))
            }

    @contextmanager
    def _heartbeat(self, messages: list["MessageTypeDef"]) -> Iterator[None]:
        """Extend the visibility timeout of these messages while the block runs (heartbeat)."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._visibility / 3):
                self._hide([(message, self._visibility) for message in messages])

        thread = threading.Thread(target=beat, name="event-sync-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _await_database(self) -> None:
        """Wait until the database is available again.

        SQS would count each message that fails meanwhile, and move it to the dead-letter queue.
        """
        aliases = {DEFAULT_DB_ALIAS, router.db_for_write(EventSync)}
        while not self._stop.requested and any(check_database(alias) != "ok" for alias in aliases):
            close_old_connections()
            self._pause()

    def _pause(self) -> None:
        """Wait, longer after each outage in a row."""
        self._outages += 1
        self._stop.sleep(backoff(self._outages, first=FIRST_PAUSE, longest=LONGEST_PAUSE))

    def _warn_without_dead_letter_queue(self) -> None:
        """Warn if the queue has no dead-letter queue for messages that always fail."""
        try:
            answer = self._client.get_queue_attributes(
                QueueUrl=self._queue_url, AttributeNames=["RedrivePolicy"]
            )
        except (BotoCoreError, ClientError) as error:
            logger.warning("sqs_queue_not_described", error=error)
        else:
            if "RedrivePolicy" not in answer.get("Attributes", {}):
                logger.warning("sqs_queue_without_dead_letter_queue", queue_url=self._queue_url)


def _handle(message: "MessageTypeDef") -> Outcome:
    """Process one message. Whatever is wrong with it must not stop the others."""
    try:
        read_body(message.get("Body", "")).handle_msg_sync()
    except HandlerFailedError:
        return "failed"
    except APIException as error:
        logger.warning("event_sync_message_refused", reason=error.get_codes())
        return "refused"
    except Stopped:
        logger.warning("event_sync_message_given_up")
        return "released"
    except Exception:
        logger.exception("event_sync_message_failed")
        return "failed"
    return "processed"


def _delay(message: "MessageTypeDef") -> int:
    """Return the seconds to hide a message that was not processed."""
    received = int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
    return round(backoff(received, first=FIRST_DELAY, longest=LONGEST_DELAY))
