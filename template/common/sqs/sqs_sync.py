"""Amazon SQS: one client for a whole process, and sending a single message.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
"""

import hashlib
import json
import re
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

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Calls that one client may have under way at once; more would wait for one another.
MAX_CONNECTIONS = 32

_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")

# Errors that are not the fault of a message: they pass, or someone has to change the account, the
# key or the queue. Of one message in a batch, SQS reports some of them as the sender's fault.
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

_making = threading.Lock()


class NotAcknowledgedError(Exception):
    """SQS answered, but with no id of a message: it may have taken it, or not."""


def sqs_client(
    queue_url: str = "", *, connect_timeout: float = 2, read_timeout: float = 10
) -> "SQSClient":
    """Return the process's client for a queue; the timeouts are seconds. Threads may share it.

    Making a client costs as much as dozens of calls, so each is made once. It repeats no call
    by itself: whoever calls knows better what to do next. Credentials are looked for as
    boto3 does: the environment, then the role of the machine or container.
    https://docs.aws.amazon.com/boto3/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients
    """
    with _making:
        return _make_client(region_for(queue_url), connect_timeout, read_timeout)


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


def account_of(client: "SQSClient") -> str:
    """Return the account and the identity whose credentials the client uses, for people to read.

    A server in place of Amazon's is asked itself: the credentials go nowhere else.
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


def region_for(queue_url: str) -> str:
    """Return the environment's region, else that of the queue's URL, else the default."""
    return settings.AWS_REGION or region_in(queue_url) or settings.AWS_DEFAULT_REGION


def region_in(queue_url: str) -> str:
    """Return the region in the URL of a queue at Amazon, "" if there is none.

    ``sqs.REGION.amazonaws.com``, also for FIPS, dual-stack, VPC endpoints and other partitions,
    and ``REGION.queue.amazonaws.com`` (the legacy form).
    https://docs.aws.amazon.com/general/latest/gr/sqs-service.html
    """
    labels = (urlsplit(queue_url).hostname or "").split(".")
    for before, label, after in zip(["", *labels], labels, [*labels[1:], ""], strict=False):
        if _REGION.fullmatch(label) and (before in {"sqs", "sqs-fips"} or after == "queue"):
            return label
    return ""


def region_mismatch(queue_url: str) -> str:
    """Return what is wrong if the environment names another region than the queue's URL, or ""."""
    region = region_in(queue_url)
    if region in {"", region_for(queue_url)}:
        return ""
    return (
        f"The queue {queue_url} is in {region}, but AWS_DEFAULT_REGION (or AWS_REGION) is"
        f" {settings.AWS_REGION}."
    )


def error_code(error: Mapping[str, Any]) -> str:
    """Return the code of an error or of a failed entry, without a prefix.

    SQS has ``AWS.SimpleQueueService.`` before older codes and ``KMS.`` before those of the key.
    """
    code: str = error.get("Code", "")
    return code.rpartition(".")[2]


def is_temporary(code: str) -> bool:
    """Return whether the same message may be taken later: it is not what was refused."""
    return code in _TEMPORARY


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
        answer = sqs_client(queue_url).send_message(
            QueueUrl=queue_url, MessageBody=body, **arguments
        )
        message_id: str | None = answer.get("MessageId")
        if not message_id:
            raise NotAcknowledgedError("SQS gave the message no id")
        return message_id
