"""Amazon SQS: one client for a whole process, and sending a single message.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
"""

import hashlib
import json
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Calls that one client may have under way at once; more would wait for one another.
MAX_CONNECTIONS = 32

_making = threading.Lock()


class NotAcknowledgedError(Exception):
    """SQS answered, but with no id of a message: it may have taken it, or not."""


def sqs_client(*, connect_timeout: float = 2, read_timeout: float = 10) -> "SQSClient":
    """Return the process's client with these timeouts, in seconds; it is safe among threads.

    Making a client costs as much as dozens of calls, so each is made once. It repeats no call
    by itself: whoever calls knows better what to do next. Credentials are looked for as
    boto3 does: the environment, then the role of the machine or container.
    https://docs.aws.amazon.com/boto3/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients
    """
    with _making:
        return _make_client(settings.AWS_DEFAULT_REGION, connect_timeout, read_timeout)


@lru_cache
def _make_client(region: str, connect_timeout: float, read_timeout: float) -> "SQSClient":
    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=MAX_CONNECTIONS,
        tcp_keepalive=True,
    )
    return boto3.session.Session().client("sqs", region_name=region, config=config)


def forget_clients() -> None:
    """Have the next call make a new client, as after a change of the environment."""
    with _making:
        _make_client.cache_clear()


def is_fifo(queue_url: str) -> bool:
    """Say whether the queue keeps an order: SQS wants the name of such a one to tell."""
    return queue_url.endswith(".fifo")


class SqSManager:
    """Messages to the queue of ``settings.SQS_QUEUE_URL``."""

    @staticmethod
    def send(
        msg: dict[str, Any], *, group: str = "default", deduplication_id: str | None = None
    ) -> str:
        """Send one message as JSON, and return the id that SQS gave it.

        A FIFO queue keeps the order within ``group``, and drops what has the
        ``deduplication_id`` (the body's SHA-256 unless given) of a message of the last five
        minutes. Events go through ``ProducerMsg`` instead, which loses none. Raises
        ``NotAcknowledgedError``, and botocore's ``ClientError`` and ``BotoCoreError``.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        """
        queue_url = settings.SQS_QUEUE_URL
        body = json.dumps(msg, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
        arguments: dict[str, Any] = {}
        if is_fifo(queue_url):
            arguments["MessageGroupId"] = group
            arguments["MessageDeduplicationId"] = (
                deduplication_id or hashlib.sha256(body.encode()).hexdigest()
            )
        answer = sqs_client().send_message(QueueUrl=queue_url, MessageBody=body, **arguments)
        message_id: str | None = answer.get("MessageId")
        if not message_id:
            raise NotAcknowledgedError("SQS gave the message no id")
        return message_id
