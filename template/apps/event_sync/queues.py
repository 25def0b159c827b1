"""Create a queue and its dead-letter queue."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.event_sync.outgoing.messages import MAX_BYTES
from common.sqs.sqs_sync import is_fifo

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_DAY = 24 * 60 * 60

# In seconds and bytes. SQS expects strings.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
_ATTRIBUTES = {
    "MaximumMessageSize": str(MAX_BYTES),
    # Long polling.
    "ReceiveMessageWaitTimeSeconds": "20",
    # How long a message is hidden from others while a consumer processes it.
    "VisibilityTimeout": "60",
    "SqsManagedSseEnabled": "true",
}
# Longer in the dead-letter queue: the age of a message is not reset when it is moved.
_RETENTION = str(7 * _DAY)
_DEAD_LETTER_RETENTION = str(14 * _DAY)

# Deliveries of a message before it is moved to the dead-letter queue.
_MAX_RECEIVE_COUNT = 5


@dataclass(slots=True)
class Queue:
    url: str
    arn: str
    attributes: dict[str, str]
    remarks: list[str] = field(default_factory=list)


def create_queue(client: "SQSClient", name: str) -> Queue:
    """Create a queue and its dead-letter queue unless they exist.

    An existing queue keeps its settings, but gets a dead-letter queue if it has none. Raises
    botocore's ``ClientError`` and ``BotoCoreError``.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    stem = name.removesuffix(".fifo")
    dead_letter_name = f"{stem}-dead.fifo" if is_fifo(name) else f"{stem}-dead"
    dead_letters = _get_or_create(client, dead_letter_name, _DEAD_LETTER_RETENTION)
    queue = _get_or_create(client, name, _RETENTION)
    if "RedrivePolicy" not in queue.attributes:
        _connect(client, queue, dead_letters)
    if int(queue.attributes["MaximumMessageSize"]) < MAX_BYTES:
        queue.remarks.append(
            f"{name} accepts messages of at most {queue.attributes['MaximumMessageSize']} bytes;"
            f" this service sends up to {MAX_BYTES}."
        )
    return queue


def _get_or_create(client: "SQSClient", name: str, retention: str) -> Queue:
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
    """Set the redrive policy of the queue. Allow no other queue to use its dead-letter queue."""
    policy = {"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": str(_MAX_RECEIVE_COUNT)}
    client.set_queue_attributes(
        QueueUrl=queue.url, Attributes={"RedrivePolicy": json.dumps(policy)}
    )
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [queue.arn]}
    client.set_queue_attributes(
        QueueUrl=dead_letters.url, Attributes={"RedriveAllowPolicy": json.dumps(allowed)}
    )
