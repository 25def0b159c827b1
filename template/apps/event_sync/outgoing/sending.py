"""One request to SQS, and what its response means for each message in it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from structlog import get_logger

from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.messages import Message
from common import telemetry
from common.sqs.sqs_sync import is_fifo
from common.tracebacks import describe_error

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = get_logger(__name__)

# SQS refuses a whole request because of one message in it. Any other error is an outage: of the
# network, SQS, our credentials or the queue.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
_BLAME_A_MESSAGE = {"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"}

# Errors of a single message that have another cause. So have all those of KMS, which encrypts queues.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
_BLAME_NO_MESSAGE = {
    "InternalError",
    "InvalidAddress",
    "InvalidSecurity",
    "NonExistentQueue",
    "OverLimit",
    "QueueDoesNotExist",
    "RequestThrottled",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ThrottlingException",
}


def send_batch(client: "SQSClient", queue_url: str, batch: Sequence[Message]) -> Answer:
    """Send up to 10 messages in one request. Never raises: the answer contains the errors."""
    fifo = is_fifo(queue_url)
    try:
        entries: Any = [_entry(message, fifo=fifo) for message in batch]
        with _traced(batch):
            response = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
        answer = _read(response, batch)
    except ClientError as error:
        if _without_prefix(error.response["Error"]["Code"]) in _BLAME_A_MESSAGE:
            return _send_one_by_one(client, queue_url, batch, reason=str(error))
        reason = str(error)
    except BotoCoreError as error:
        reason = describe_error(error)
    except Exception as error:
        logger.exception("event_sync_send_failed")
        reason = describe_error(error)
    else:
        return _in_order(answer, batch) if fifo else answer
    return Answer(unknown=dict.fromkeys(_ids(batch), reason), outage=reason)


@contextmanager
def _traced(batch: Sequence[Message]) -> Iterator[None]:
    """Continue the trace of each message."""
    with ExitStack() as stack:
        for message in batch:
            if message.traceparent:
                span = telemetry.span("event_sync.send", "PRODUCER", parent=message.traceparent)
                stack.enter_context(span)
        stack.enter_context(telemetry.messaging_call("aws_sqs", "send"))
        yield


def _entry(message: Message, *, fifo: bool) -> dict[str, str]:
    entry = {"Id": str(message.event_id), "MessageBody": message.body}
    if fifo:
        entry["MessageGroupId"] = message.group
        entry["MessageDeduplicationId"] = message.deduplication_id
    return entry


def _read(response: Any, batch: Sequence[Message]) -> Answer:
    """Read the results. Messages that SQS does not mention are unknown."""
    answer = Answer()
    for entry in response.get("Successful", []):
        if entry.get("MessageId"):
            answer.accepted[int(entry["Id"])] = entry["MessageId"]
    for entry in response.get("Failed", []):
        event_id = int(entry["Id"])
        reason = f"{entry['Code']}: {entry.get('Message', '')}"
        code: str = entry["Code"]
        if code.lower().startswith("kms") or _without_prefix(code) in _BLAME_NO_MESSAGE:
            answer.unknown[event_id] = answer.outage = reason
        else:
            answer.refused[event_id] = reason
    for event_id in _ids(batch):
        if not (event_id in answer.accepted or event_id in answer.refused):
            answer.unknown.setdefault(event_id, "SQS responded without the id of the message")
    return answer


def _in_order(answer: Answer, batch: Sequence[Message]) -> Answer:
    """Send messages again that SQS accepted before an earlier one of their group."""
    stopped = set()
    for message in batch:
        if message.event_id not in answer.accepted:
            stopped.add(message.group)
        elif message.group in stopped:
            answer.out_of_turn[message.event_id] = answer.accepted.pop(message.event_id)
            answer.unknown[message.event_id] = (
                "SQS accepted it before an earlier event of its object"
            )
    return answer


def _send_one_by_one(
    client: "SQSClient", queue_url: str, batch: Sequence[Message], *, reason: str
) -> Answer:
    """Find the message that SQS refuses: send each one in a request of its own."""
    if len(batch) == 1:
        return Answer(refused={batch[0].event_id: reason})
    answer = Answer()
    stopped = set()
    for message in batch:
        if answer.outage:
            answer.unknown[message.event_id] = answer.outage
        elif message.group in stopped:
            answer.unknown[message.event_id] = "Waits for an earlier event of its object"
        else:
            one = send_batch(client, queue_url, [message])
            answer.add(one)
            if is_fifo(queue_url) and not one.accepted:
                stopped.add(message.group)
    return answer


def _without_prefix(code: str) -> str:
    """Return the code of an error without ``AWS.SimpleQueueService.``."""
    return code.rpartition(".")[2]


def _ids(batch: Sequence[Message]) -> list[int]:
    return [message.event_id for message in batch]
