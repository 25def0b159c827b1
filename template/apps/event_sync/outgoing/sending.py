"""One request to SQS, and what its answer means for each event in it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from structlog import get_logger

from apps.event_sync.messages import Message
from apps.event_sync.models import EventSync
from apps.event_sync.outbox import Failed, Sent
from common.sqs.sqs_sync import error_code, is_fifo, is_temporary
from common.tracebacks import describe_error

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = get_logger(__name__)

# Refusals until an event is dead. The waits between them double from 10 seconds to an hour:
# together a good 5 hours, in which somebody may mend what is wrong with it.
MAX_ATTEMPTS = 12
FIRST_WAIT = 10
LONGEST_WAIT = 3600

# Seconds until SQS is asked again about what it neither took nor refused.
SHORT_WAIT = 5

# A request that SQS refuses as a whole because of a message in it. Any other error is an
# outage for us: of the network, of SQS, of our credentials or of the queue.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
BLAMES_A_MESSAGE = {"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"}


@dataclass(slots=True)
class Answer:
    """What became of the messages of a request, by the event's id."""

    taken: dict[int, str] = field(default_factory=dict)
    """The ids that SQS gave."""
    refused: dict[int, str] = field(default_factory=dict)
    """Why SQS will not take them as they are: this counts as an attempt."""
    put_off: dict[int, str] = field(default_factory=dict)
    """Why nobody knows, or why SQS could not: this does not count."""
    out_of_turn: dict[int, str] = field(default_factory=dict)
    """The ids that SQS gave to events before an earlier one of their group was taken."""
    outage: str = ""
    """Why there is no use in sending others now."""


def send_batch(client: "SQSClient", queue_url: str, batch: Sequence[Message]) -> Answer:
    """Send up to 10 messages in one request. It never raises: the answer tells what failed."""
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
    return Answer(put_off=dict.fromkeys(_ids(batch), reason), outage=reason)


def settle(events: Sequence[EventSync], answer: Answer) -> tuple[list[Sent], list[Failed]]:
    """Say what is to be noted of each claimed event."""
    sent = []
    failed = []
    for event in events:
        if message_id := answer.taken.get(event.pk):
            sent.append(Sent(event_id=event.pk, lease=event.lease, message_id=message_id))
        elif event.pk in answer.refused:
            failed.append(_refused(event, answer.refused[event.pk]))
        else:
            failed.append(_put_off(event, answer))
    return sent, failed


def jitter(seconds: float) -> float:
    """Spread a wait over its second half, so that what failed together comes back apart."""
    return seconds * random.uniform(0.5, 1)  # noqa: S311 - no secret


def _entry(message: Message, *, fifo: bool) -> dict[str, str]:
    entry = {"Id": str(message.event_id), "MessageBody": message.body}
    if fifo:
        entry["MessageGroupId"] = message.group
        entry["MessageDeduplicationId"] = message.deduplication_id
    return entry


def _read(response: Any, batch: Sequence[Message]) -> Answer:
    """Believe what SQS says of each message, and nothing of those that it does not mention."""
    answer = Answer()
    for entry in response.get("Successful", []):
        if entry.get("MessageId"):
            answer.taken[int(entry["Id"])] = entry["MessageId"]
    for entry in response.get("Failed", []):
        event_id = int(entry["Id"])
        reason = f"{entry.get('Code', '')}: {entry.get('Message', '')}"
        # By the code: SQS calls it the sender's fault, too, that there was too much to do.
        if is_temporary(error_code(entry)):
            answer.put_off[event_id] = answer.outage = reason
        else:
            answer.refused[event_id] = reason
    for event_id in _ids(batch):
        if not (event_id in answer.taken or event_id in answer.refused):
            answer.put_off.setdefault(event_id, "SQS answered without an id of the message")
    return answer


def _in_order(answer: Answer, batch: Sequence[Message]) -> Answer:
    """Have what SQS took before an earlier message of its group sent once more, after that one."""
    stopped = set()
    for message in batch:
        if message.event_id not in answer.taken:
            stopped.add(message.group)
        elif message.group in stopped:
            answer.out_of_turn[message.event_id] = answer.taken.pop(message.event_id)
            answer.put_off[message.event_id] = "SQS took it before an earlier event of its object"
    return answer


def _single_out(
    client: "SQSClient", queue_url: str, batch: Sequence[Message], *, reason: str
) -> Answer:
    """Find the message that SQS does not want: halve the batch until it is alone."""
    if len(batch) == 1:
        return Answer(refused={batch[0].event_id: reason})
    middle = len(batch) // 2
    answer = send_batch(client, queue_url, batch[:middle])
    rest = batch[middle:]
    if answer.outage:
        answer.put_off |= dict.fromkeys(_ids(rest), answer.outage)
        return answer
    if is_fifo(queue_url):
        stopped = {
            message.group for message in batch[:middle] if message.event_id not in answer.taken
        }
        behind = [message for message in rest if message.group in stopped]
        answer.put_off |= dict.fromkeys(_ids(behind), "It waits for an earlier event of its object")
        rest = [message for message in rest if message.group not in stopped]
    if rest:
        second = send_batch(client, queue_url, rest)
        answer.taken |= second.taken
        answer.refused |= second.refused
        answer.put_off |= second.put_off
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
        wait=jitter(min(FIRST_WAIT * 2 ** (attempts - 1), LONGEST_WAIT)),
        message_id=event.message_id,
        error=reason[:1000],
        remark=f"Attempt {attempts} was refused. {reason[:1000]}\n",
    )


def _put_off(event: EventSync, answer: Answer) -> Failed:
    # In an outage the sender waits as a whole; what it held is due for whoever is first again.
    wait = 0 if answer.outage else jitter(SHORT_WAIT)
    return Failed(
        event_id=event.pk,
        lease=event.lease,
        dead=False,
        attempts=event.attempts,
        wait=wait,
        message_id=answer.out_of_turn.get(event.pk, event.message_id),
        error=answer.put_off.get(event.pk, "")[:1000],
        remark="",
    )


def _ids(batch: Sequence[Message]) -> list[int]:
    return [message.event_id for message in batch]
