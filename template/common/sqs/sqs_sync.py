"""Amazon SQS: cached clients, and sending a single message.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from common.sqs.regions import region_for

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Concurrent calls of one client. Further ones wait.
MAX_CONNECTIONS = 32

# Errors that are not caused by a message: they pass, or someone has to change the account, the key
# or the queue. SQS reports some of them for single messages, as the sender's fault.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
_TEMPORARY = {
    # Throttling
    "OverLimit",
    "RequestThrottled",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "KmsThrottled",
    # Failures of SQS
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    # The key that encrypts the queue
    "DisabledException",
    "InvalidStateException",
    "KmsAccessDenied",
    "KmsDisabled",
    "KmsInvalidKeyUsage",
    "KmsInvalidState",
    "KmsNotFound",
    "KmsOptInRequired",
    "NotFoundException",
    "OptInRequired",
    # Credentials and permissions
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "NotAuthorized",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    # The queue
    "InvalidAddress",
    "NonExistentQueue",
    "QueueDoesNotExist",
}

_lock = threading.Lock()


class NotAcknowledgedError(Exception):
    """SQS responded without a message id, so it is unknown whether it has the message."""


def sqs_client(
    queue_url: str = "", *, connect_timeout: float = 2, read_timeout: float = 10
) -> "SQSClient":
    """Return the cached client for a queue. Time-outs are in seconds. Threads can share it.

    Creating a client costs as much as dozens of calls. It does not retry: callers do. boto3 finds the
    credentials: the environment, then the role of the machine or container.
    https://docs.aws.amazon.com/boto3/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients
    """
    with _lock:
        return _create_client(region_for(queue_url), connect_timeout, read_timeout)


@lru_cache
def _create_client(region: str, connect_timeout: float, read_timeout: float) -> "SQSClient":
    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=MAX_CONNECTIONS,
        tcp_keepalive=True,
    )
    return boto3.session.Session().client("sqs", region_name=region, config=config)


def forget_clients() -> None:
    """Create new clients from now on, for example after the environment has changed."""
    with _lock:
        _create_client.cache_clear()


def account_of(client: "SQSClient") -> str:
    """Return the account and identity of the client's credentials, for people to read.

    If the endpoint is not Amazon's, the credentials are sent to no other server.
    """
    endpoint = client.meta.endpoint_url
    is_amazon = urlsplit(endpoint).netloc.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
    sts = boto3.session.Session().client(
        "sts",
        region_name=client.meta.region_name,
        endpoint_url=None if is_amazon else endpoint,
        config=config,
    )
    try:
        identity = sts.get_caller_identity()
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        return f"unknown ({error})"
    return f"{identity['Account']} ({identity['Arn']})"


def error_code(error: Mapping[str, Any]) -> str:
    """Return the code of an error or of a failed entry, without its prefix.

    The prefixes are ``AWS.SimpleQueueService.`` (older codes) and ``KMS.``.
    """
    code: str = error.get("Code", "")
    return code.rpartition(".")[2]


def is_temporary(code: str) -> bool:
    """Return whether SQS may accept the same message later."""
    return code in _TEMPORARY


def is_fifo(queue_url: str) -> bool:
    """Return whether this is a FIFO queue, whose name always ends in ``.fifo``."""
    return queue_url.endswith(".fifo")


class SqSManager:
    """Sends messages to the queue ``settings.SQS_QUEUE_URL``."""

    @staticmethod
    def send(
        msg: dict[str, Any], *, group: str = "default", deduplication_id: str | None = None
    ) -> str:
        """Send one message as JSON, and return its id in SQS.

        Use ``ProducerMsg`` for events, which are not lost if SQS is not available. For FIFO queues,
        messages of one ``group`` stay in order, and SQS drops a message that has the
        ``deduplication_id`` (default: SHA-256 of the body) of one from the last five minutes. Raises
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
        answer = sqs_client(queue_url).send_message(
            QueueUrl=queue_url, MessageBody=body, **arguments
        )
        message_id: str | None = answer.get("MessageId")
        if not message_id:
            raise NotAcknowledgedError("SQS responded without a message id")
        return message_id
