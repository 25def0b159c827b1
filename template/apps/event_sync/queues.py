"""Making the queues: one for messages, and one for those that no consumer could handle."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.event_sync.messages import MAX_BYTES
from common.sqs.sqs_sync import is_fifo

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_DAY = 24 * 60 * 60

# Seconds and bytes, as SQS wants them: strings.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
_ATTRIBUTES = {
    "MaximumMessageSize": str(MAX_BYTES),
    # Consumers that ask wait for a message, instead of asking again and again.
    "ReceiveMessageWaitTimeSeconds": "20",
    # How long a consumer has for a message until another gets it.
    "VisibilityTimeout": "60",
    "SqsManagedSseEnabled": "true",
}
# The clock of a message goes on in the dead-letter queue, so that one keeps them for longer.
_RETENTION = str(7 * _DAY)
_DEAD_LETTER_RETENTION = str(14 * _DAY)

# How often a message is tried before it goes to the dead-letter queue.
_MAX_RECEIVE_COUNT = 5


@dataclass(slots=True)
class Queue:
    url: str
    arn: str
    attributes: dict[str, str]
    remarks: list[str] = field(default_factory=list)


def make_queue(client: "SQSClient", name: str) -> Queue:
    """Make a queue and its dead-letter queue where they do not exist.

    One that exists keeps its settings; it only gets a dead-letter queue where it has none.
    Raises botocore's ``ClientError`` and ``BotoCoreError``.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    stem = name.removesuffix(".fifo")
    dead_letter_name = f"{stem}-dead.fifo" if is_fifo(name) else f"{stem}-dead"
    dead_letters = _find_or_make(client, dead_letter_name, _DEAD_LETTER_RETENTION)
    queue = _find_or_make(client, name, _RETENTION)
    if "RedrivePolicy" not in queue.attributes:
        _connect(client, queue, dead_letters)
    if int(queue.attributes["MaximumMessageSize"]) < MAX_BYTES:
        queue.remarks.append(
            f"{name} takes messages of {queue.attributes['MaximumMessageSize']} bytes at most;"
            f" this service sends up to {MAX_BYTES}."
        )
    return queue


def _find_or_make(client: "SQSClient", name: str, retention: str) -> Queue:
    try:
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
    except client.exceptions.QueueDoesNotExist:
        attributes: Any = {**_ATTRIBUTES, "MessageRetentionPeriod": retention}
        if is_fifo(name):
            attributes["FifoQueue"] = "true"
        url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    found: Any = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return Queue(url, found["QueueArn"], found)


def _connect(client: "SQSClient", queue: Queue, dead_letters: Queue) -> None:
    """Send what no consumer could handle to the dead-letter queue, and to there from here alone."""
    policy = {"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": str(_MAX_RECEIVE_COUNT)}
    client.set_queue_attributes(
        QueueUrl=queue.url, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [queue.arn]}
    client.set_queue_attributes(
        QueueUrl=dead_letters.url, Attributes={"RedriveAllowPolicy": json.dumps(allowed)}
    )
