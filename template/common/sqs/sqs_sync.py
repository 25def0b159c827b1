"""Amazon SQS: cached clients, and sending a single message.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
"""

import hashlib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from common import telemetry

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Concurrent calls of one client. Further ones wait.
MAX_CONNECTIONS = 32

# ``sqs.REGION.amazonaws.com``, also for FIPS, dual-stack, VPC endpoints and other partitions.
# https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
_REGION = re.compile(r"\bsqs(?:-fips)?\.([a-z]{2,}(?:-[a-z]+)+-\d+)\.")


class NotAcknowledgedError(Exception):
    """SQS responded without a message id, so it is unknown whether it has the message."""


def sqs_client(
    queue_url: str = "", *, connect_timeout: float = 2, read_timeout: float = 10
) -> "SQSClient":
    """Return the cached client for a queue. Time-outs are in seconds. Threads can share it.

    It does not retry: callers do. boto3 finds the credentials: the environment, then the role of the
    machine or container.
    https://docs.aws.amazon.com/boto3/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients
    """
    return create_client(region_of(queue_url), connect_timeout, read_timeout)


# Creating a client costs as much as dozens of calls.
@lru_cache
def create_client(region: str, connect_timeout: float, read_timeout: float) -> "SQSClient":
    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 1},
        max_pool_connections=MAX_CONNECTIONS,
        tcp_keepalive=True,
    )
    return boto3.session.Session().client("sqs", region_name=region, config=config)


def region_of(queue_url: str) -> str:
    """Return the region in the URL of an Amazon queue, or the one of the environment."""
    match = _REGION.search(urlsplit(queue_url).hostname or "")
    return match[1] if match else settings.AWS_DEFAULT_REGION


def is_fifo(queue_url: str) -> bool:
    """Return whether this is a FIFO queue, whose name always ends in ``.fifo``."""
    return queue_url.endswith(".fifo")


class SqSManager:
    """Sends messages to the queue ``settings.SQS_QUEUE_URL``."""

    @staticmethod
    def send(msg: dict[str, Any]) -> str:
        """Send one message as JSON, and return its id in SQS.

        Use ``ProducerMsg`` for events, which are not lost if SQS is not available. A FIFO queue keeps
        these messages in order, and drops one that it received in the last five minutes. Raises
        ``NotAcknowledgedError``, and botocore's ``ClientError`` and ``BotoCoreError``.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        """
        queue_url = settings.SQS_QUEUE_URL
        body = json.dumps(msg, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
        arguments: dict[str, Any] = {}
        if is_fifo(queue_url):
            arguments["MessageGroupId"] = "default"
            arguments["MessageDeduplicationId"] = hashlib.sha256(body.encode()).hexdigest()
        with telemetry.messaging_call("aws_sqs", "send"):
            answer = sqs_client(queue_url).send_message(
                QueueUrl=queue_url, MessageBody=body, **arguments
            )
        message_id: str | None = answer.get("MessageId")
        if not message_id:
            raise NotAcknowledgedError("SQS responded without a message id")
        return message_id
