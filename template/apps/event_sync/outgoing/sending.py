"""One request to SQS, and what its response means for each event in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from structlog import get_logger

from apps.event_sync.models import EventSync
from apps.event_sync.outgoing.messages import Message
from apps.event_sync.outgoing.outbox import Failed, Sent
from apps.event_sync.outgoing.retry import MAX_ATTEMPTS, wait_after_refusal, wait_if_unknown
from common.sqs.sqs_sync import error_code, is_fifo, is_temporary
from common.tracebacks import describe_error

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = get_logger(__name__)

# SQS refuses a whole request because of one message in it. Any other error is an outage: of the
# network, SQS, our credentials or the queue.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
BLAMES_A_MESSAGE = {"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"}


@dataclass(slots=True)
class Answer:
    """The results of a request, by event id."""

    accepted: dict[int, str] = field(default_factory=dict)
    """Ids of the messages in SQS."""
    refused: dict[int, str] = field(default_factory=dict)
    """Why SQS does not accept the message. Counts as an attempt."""
    unknown: dict[int, str] = field(default_factory=dict)
    """Why it is not known whether SQS has the message, or why SQS failed. Not an attempt."""
    out_of_turn: dict[int, str] = field(default_factory=dict)
    """Ids of messages that SQS accepted before an earlier one of their group."""
    outage: str = ""
    """Why no other event can be sent now."""


def send_batch(client: "SQSClient", queue_url: str, batch: Sequence[Message]) -> Answer:
    """Send up to 10 messages in one request. Never raises: the answer contains the errors."""
    fifo = is_fifo(queue_url)
    try:
        entries: Any = [_entry(message, fifo=fifo) for message in batch]
        response = client.send_message_batch(QueueUrl=queue_url, Entries=entries)
        answer = _read(response, batch)
    except ClientError as error:
        if error_code(error.response["Error"]) in BLAMES_A_MESSAGE:
            return _single_out(client, queue_url, batch, reason=str(error))
        reason = str(error)
    except BotoCoreError as error:
        reason = describe_error(error)
    except Exception as error:
        logger.exception("event_sync_send_failed")
        reason = describe_error(error)
    else:
        return _in_order(answer, batch) if fifo else answer
    return Answer(unknown=dict.fromkeys(_ids(batch), reason), outage=reason)


def results_of(events: Sequence[EventSync], answer: Answer) -> tuple[list[Sent], list[Failed]]:
    """Return what to record for each claimed event."""
    sent = []
    failed = []
    for event in events:
        if message_id := answer.accepted.get(event.pk):
            sent.append(Sent(event_id=event.pk, lease=event.lease, message_id=message_id))
        elif event.pk in answer.refused:
            failed.append(_refused(event, answer.refused[event.pk]))
        else:
            failed.append(_unknown(event, answer))
    return sent, failed


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
        reason = f"{entry.get('Code', '')}: {entry.get('Message', '')}"
        # By its code: SQS reports throttling as the sender's fault as well.
        if is_temporary(error_code(entry)):
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


def _single_out(
    client: "SQSClient", queue_url: str, batch: Sequence[Message], *, reason: str
) -> Answer:
    """Find the message that SQS refuses: halve the batch until it is the only one."""
    if len(batch) == 1:
        return Answer(refused={batch[0].event_id: reason})
    middle = len(batch) // 2
    answer = send_batch(client, queue_url, batch[:middle])
    rest = batch[middle:]
    if answer.outage:
        answer.unknown |= dict.fromkeys(_ids(rest), answer.outage)
        return answer
    if is_fifo(queue_url):
        stopped = {
            message.group for message in batch[:middle] if message.event_id not in answer.accepted
        }
        behind = [message for message in rest if message.group in stopped]
        answer.unknown |= dict.fromkeys(_ids(behind), "Waits for an earlier event of its object")
        rest = [message for message in rest if message.group not in stopped]
    if rest:
        second = send_batch(client, queue_url, rest)
        answer.accepted |= second.accepted
        answer.refused |= second.refused
        answer.unknown |= second.unknown
        answer.out_of_turn |= second.out_of_turn
        answer.outage = second.outage
    return answer


def _refused(event: EventSync, reason: str) -> Failed:
    attempts = event.attempts + 1
    return Failed(
        event_id=event.pk,
        lease=event.lease,
        dead=attempts >= MAX_ATTEMPTS,
        attempts=attempts,
        wait=wait_after_refusal(attempts),
        message_id=event.message_id,
        error=reason[:1000],
        remark=f"Attempt {attempts} was refused. {reason[:1000]}\n",
    )


def _unknown(event: EventSync, answer: Answer) -> Failed:
    # In an outage the whole relay waits, so the event is due as soon as any relay can send again.
    wait = 0 if answer.outage else wait_if_unknown()
    return Failed(
        event_id=event.pk,
        lease=event.lease,
        dead=False,
        attempts=event.attempts,
        wait=wait,
        message_id=answer.out_of_turn.get(event.pk, event.message_id),
        error=answer.unknown.get(event.pk, "")[:1000],
        remark="",
    )


def _ids(batch: Sequence[Message]) -> list[int]:
    return [message.event_id for message in batch]
