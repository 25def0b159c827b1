"""Take other services' confirmations from a queue, where they do not come over HTTP.

A message is deleted once its effect is committed; a crash between the two brings it again, and
``ConsumerMsg`` knows it. What fails stays in the queue: SQS counts how often it was received, and
moves it to the dead-letter queue after as many times as its redrive policy says. Until then each
failure hides it for longer. In a FIFO queue it also holds back what comes after it in its group.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

import json
import random
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
from apps.event_sync.stopping import Stopped, StopSignals
from common.drf.health import check_database
from common.sqs.sqs_sync import error_code, is_temporary, sqs_client

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = get_logger(__name__)

# Seconds, all of them. SQS waits at most 20 for a message.
LONG_POLL = 20
# How long a message stays hidden after its last sign of life: a crash delays it by that much.
VISIBILITY = 60
FIRST_DELAY, LONGEST_DELAY = 10, 15 * 60
FIRST_PAUSE, LONGEST_PAUSE = 1, 30

MAX_BATCH = 10
ATTEMPTS = 3

type Outcome = Literal["processed", "refused", "failed", "released"]


def read_body(body: str) -> ConsumerMsg:
    """Return the confirmation in a message: as the API takes it, or in the envelope of ours.

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
    """Reads one queue, message by message; for more at once, start it more than once."""

    def __init__(
        self,
        queue_url: str,
        stop: StopSignals,
        *,
        long_poll: int = LONG_POLL,
        visibility: int = VISIBILITY,
    ) -> None:
        """``long_poll`` and ``visibility`` are seconds, as the constants above explain them."""
        self._queue_url = queue_url
        self._stop = stop
        self._long_poll = long_poll
        self._visibility = visibility
        self._client = sqs_client(queue_url)
        self._poller = sqs_client(queue_url, read_timeout=long_poll + 10)
        self._outages = 0
        # Groups of a FIFO queue whose first message failed, and until when we are careful.
        self._held_up: dict[str, float] = {}

    def run(self, *, until_empty: bool = False) -> Counter[Outcome]:
        """Handle messages until a signal comes, or there are none; return what came of them."""
        outcomes: Counter[Outcome] = Counter()
        logger.info("event_sync_consumer_started", queue_url=self._queue_url)
        try:
            self._look_for_dead_letter_queue()
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
        """Handle, one by one, what was received together, and say what came of it.

        A message is "processed", "refused" (it will never do), "failed" (it may, later), or
        "released": not looked at, for us or for another to take next.
        """
        if not messages:
            return Counter()
        groups: set[str] = set()
        with self._kept_hidden(messages):
            outcomes = [self._handle_in_turn(message, groups) for message in messages]
        self._settle(zip(messages, outcomes, strict=True))
        if "failed" in outcomes:
            self._await_database()
        close_old_connections()
        logger.info("event_sync_messages_handled", outcomes=dict(Counter(outcomes)))
        return Counter(outcomes)

    def _handle_in_turn(self, message: "MessageTypeDef", stopped_groups: set[str]) -> Outcome:
        """Handle a message, unless an earlier one of its group was not processed."""
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
        """Wait for messages; none where none came in time, or SQS is not to be reached."""
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
        """Return how many messages to take: one where a FIFO queue holds a group that fails.

        SQS counts every message that it hands out. Those behind one that fails would be handed
        out with it each time, and reach the dead-letter queue with it, though nobody tried them.
        """
        now = time.monotonic()
        self._held_up = {group: until for group, until in self._held_up.items() if until > now}
        return 1 if self._held_up else MAX_BATCH

    def _settle(self, handled: Iterable[tuple["MessageTypeDef", Outcome]]) -> None:
        """Delete what is processed; hide the rest for as long as it is to wait."""
        done, waits = [], []
        for message, outcome in handled:
            if outcome == "processed":
                done.append(message)
            else:
                waits.append((message, 0 if outcome == "released" else _delay(message)))
        self._delete(done)
        self._hide(waits)

    def _delete(self, messages: list["MessageTypeDef"]) -> None:
        """Delete messages. One that stays comes again, and changes nothing then."""
        entries = [{"ReceiptHandle": message["ReceiptHandle"]} for message in messages]
        self._request("delete_message_batch", entries, failure="event_sync_messages_not_deleted")

    def _hide(self, waits: list[tuple["MessageTypeDef", int]]) -> None:
        """Hide messages for so many seconds from now; if that fails, the last time stays."""
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
        """Send a batch, and again what SQS could not do for now, a few times."""
        waiting = {str(number): {"Id": str(number)} | entry for number, entry in enumerate(entries)}
        for attempt in range(ATTEMPTS):
            if not waiting:
                return
            if attempt:
                time.sleep(random.uniform(0.1, 0.2) * 2**attempt)  # noqa: S311 - no secret
            call: Any = getattr(self._client, operation)
            try:
                answer = call(QueueUrl=self._queue_url, Entries=list(waiting.values()))
            except (BotoCoreError, ClientError) as error:
                logger.warning(failure, error=error)
                continue
            failures = answer.get("Failed", [])
            if failures:
                logger.warning(failure, failures=failures)
            # A receipt that is too old gets no younger.
            waiting = {
                entry["Id"]: waiting[entry["Id"]]
                for entry in failures
                if is_temporary(error_code(entry))
            }

    @contextmanager
    def _kept_hidden(self, messages: list["MessageTypeDef"]) -> Iterator[None]:
        """Have no other consumer get these messages while the block runs, however long."""
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
        """Take no more messages from the queue than those that came when the database went.

        SQS would count each, and move it to the dead-letter queue for nothing.
        """
        aliases = {DEFAULT_DB_ALIAS, router.db_for_write(EventSync)}
        while not self._stop.requested and any(check_database(alias) != "ok" for alias in aliases):
            close_old_connections()
            self._pause()

    def _pause(self) -> None:
        """Wait, for longer at each outage in a row, up to half a minute."""
        longest = min(FIRST_PAUSE * 2**self._outages, LONGEST_PAUSE)
        self._outages += 1
        self._stop.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - no secret

    def _look_for_dead_letter_queue(self) -> None:
        """Warn where messages that never do would stay until SQS forgets them."""
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
    """Handle one message. Whatever is wrong with it, the others must go on."""
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
    """Return for how many seconds to hide a message that was not processed."""
    received = int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1"))
    delay = min(FIRST_DELAY * 2 ** min(received - 1, 10), LONGEST_DELAY)
    # Up to a quarter more, so that what failed together does not come back together.
    return int(delay * random.uniform(1, 1.25))  # noqa: S311 - no secret
