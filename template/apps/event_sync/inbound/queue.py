"""Process confirmations of other services from a queue.

A message is deleted after its effect is committed. If the process dies in between, the message
arrives again, and ``ConsumerMsg`` recognizes it. A message that fails stays in the queue: SQS hides
it for the visibility timeout, and moves it to the dead-letter queue in the end (redrive policy).

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

import json
from collections import Counter
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
from apps.event_sync.outage import Outage
from common import telemetry
from common.drf.health import check_database
from common.sqs.sqs_sync import is_fifo, sqs_client
from common.stopping import Stop
from common.tracebacks import describe_error

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

logger = get_logger(__name__)

# Seconds. Not the longest that SQS allows, since a stop waits for the poll.
LONG_POLL = 5

MAX_BATCH = 10

type Outcome = Literal["processed", "refused", "failed"]


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

    def __init__(self, queue_url: str, stop: Stop, *, long_poll: int = LONG_POLL) -> None:
        self._queue_url = queue_url
        self._stop = stop
        self._long_poll = long_poll
        self._client = sqs_client(queue_url, read_timeout=long_poll + 10)
        # One by one, SQS holds back the group of a message that fails, and does not count
        # deliveries of those behind it.
        self._batch_size = 1 if is_fifo(queue_url) else MAX_BATCH
        self._outage = Outage("sqs")
        self._database_outage = Outage("database")

    def run(self, *, until_empty: bool = False) -> Counter[Outcome]:
        """Process messages until the process is to stop, or the queue is empty. Return the outcomes."""
        outcomes: Counter[Outcome] = Counter()
        logger.info("event_sync_consumer_started", queue_url=self._queue_url)
        while not self._stop.requested:
            messages = self._receive()
            outcomes += self.handle(messages)
            if until_empty and not messages and not self._outage:
                break
        logger.info("event_sync_consumer_stopped", outcomes=dict(outcomes))
        return outcomes

    def handle(self, messages: list["MessageTypeDef"]) -> Counter[Outcome]:
        """Process the messages of one request until the process is to stop, and return their outcomes.

        "refused" messages can never be processed, and "failed" ones are retried.
        """
        outcomes: Counter[Outcome] = Counter()
        processed = []
        for message in messages:
            if self._stop.requested:
                break
            with (
                telemetry.span("event_sync.confirm", "CONSUMER"),
                bound_contextvars(message_id=message["MessageId"]),
            ):
                outcome = _process(message)
            outcomes[outcome] += 1
            if outcome == "processed":
                processed.append(message)
        telemetry.count("event_sync.confirmations", outcomes)
        if processed:
            self._delete(processed)
        if outcomes["failed"]:
            self._await_database()
        if messages:
            logger.info("event_sync_messages_handled", outcomes=dict(outcomes))
        close_old_connections()
        return outcomes

    def _receive(self) -> list["MessageTypeDef"]:
        """Wait for messages. Return none if none arrive in time or SQS is not available."""
        try:
            with telemetry.messaging_call("aws_sqs", "receive"):
                answer = self._client.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=self._batch_size,
                    WaitTimeSeconds=self._long_poll,
                )
        except (BotoCoreError, ClientError) as error:
            self._outage.begin(describe_error(error))
            self._stop.sleep(self._outage.remaining())
            return []
        self._outage.end()
        return answer.get("Messages", [])

    def _delete(self, messages: list["MessageTypeDef"]) -> None:
        """Delete messages. One that stays is received again, without effect."""
        entries: Any = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        try:
            answer = self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            logger.warning("event_sync_messages_not_deleted", error=error)
        else:
            if "Failed" in answer:
                logger.warning("event_sync_messages_not_deleted", failures=answer["Failed"])

    def _await_database(self) -> None:
        """Wait until the database is available again.

        SQS would count each message that fails meanwhile, and move it to the dead-letter queue.
        """
        aliases = {DEFAULT_DB_ALIAS, router.db_for_write(EventSync)}
        while not self._stop.requested and any(check_database(alias) != "ok" for alias in aliases):
            close_old_connections()
            self._database_outage.begin("not available")
            self._stop.sleep(self._database_outage.remaining())
        self._database_outage.end()


def _process(message: "MessageTypeDef") -> Outcome:
    """Process one message. Whatever is wrong with it must not stop the others."""
    try:
        read_body(message["Body"]).handle_msg_sync()
    except HandlerFailedError:
        return "failed"
    except APIException as error:
        logger.warning("event_sync_message_refused", reason=error.get_codes())
        return "refused"
    except Exception:
        logger.exception("event_sync_message_failed")
        return "failed"
    return "processed"
