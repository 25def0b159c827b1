import json
import os
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, override

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.outgoing.messages import MAX_BYTES
from common.sqs.sqs_sync import is_fifo, sqs_client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

DAY = 24 * 60 * 60

# In seconds and bytes. SQS expects strings.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
ATTRIBUTES = {
    "MaximumMessageSize": str(MAX_BYTES),
    # How long a message is hidden from others while a consumer processes it, and after it failed.
    "VisibilityTimeout": "120",
    "SqsManagedSseEnabled": "true",
    "MessageRetentionPeriod": str(7 * DAY),
}
# Longer in the dead-letter queue: the age of a message is not reset when it is moved.
DEAD_LETTER_ATTRIBUTES = ATTRIBUTES | {"MessageRetentionPeriod": str(14 * DAY)}

# Deliveries of a message before it is moved to the dead-letter queue.
MAX_RECEIVE_COUNT = 5


class Command(BaseCommand):
    help = (
        "Create a queue and its dead-letter queue unless they exist, and print the variables that"
        " name it. Shows the account first, and asks."
    )

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="Queue name; a name ending in .fifo creates a FIFO queue.")
        parser.add_argument(
            "--inbound",
            action="store_true",
            help="The queue that event_sync_consume reads, instead of the one for events.",
        )
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="Create the queues without asking.",
        )

    @override
    def handle(
        self, *args: Any, name: str, inbound: bool, interactive: bool, **options: Any
    ) -> None:
        client = sqs_client()
        # On stderr, so that the output can be appended to .env.
        self.stderr.write(
            f"Queue: {name}\n"
            f"Endpoint: {client.meta.endpoint_url}\n"
            f"Account: {_account(client)}\n"
            f"Region: {client.meta.region_name}",
            self.style.NOTICE,
        )
        if interactive:
            self._confirm()
        try:
            url = _create_queues(client, name)
        except (BotoCoreError, ClientError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"SQS_{'INBOUND_' if inbound else ''}QUEUE_URL={url}")
        self.stdout.write(f"AWS_DEFAULT_REGION={client.meta.region_name}")
        for elsewhere in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"):
            if elsewhere in os.environ:
                self.stdout.write(f"{elsewhere}={os.environ[elsewhere]}")

    def _confirm(self) -> None:
        self.stderr.write("Create the queue and its dead-letter queue there? [y/N] ", ending="")
        try:
            answer = input()
        except EOFError:
            raise CommandError("There is no one to ask; --no-input creates the queues.") from None
        if answer.strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was created.")


def _account(client: "SQSClient") -> str:
    """Return the account and identity of the credentials. They are sent to the endpoint of SQS only."""
    endpoint = client.meta.endpoint_url
    sts = boto3.session.Session().client(
        "sts",
        region_name=client.meta.region_name,
        endpoint_url=None if "amazonaws.com" in endpoint else endpoint,
    )
    try:
        identity = sts.get_caller_identity()
    except (BotoCoreError, ClientError, ResponseParserError) as error:
        return f"unknown ({error})"
    return f"{identity['Account']} ({identity['Arn']})"


def _create_queues(client: "SQSClient", name: str) -> str:
    """Create a queue and its dead-letter queue, and return the URL. An existing queue is kept as it is.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    fifo = {"FifoQueue": "true"} if is_fifo(name) else {}
    stem, dot, suffix = name.partition(".")
    dead_name = f"{stem}-dead{dot}{suffix}"
    dead_url = _get_or_create(client, dead_name, DEAD_LETTER_ATTRIBUTES | fifo)
    answer = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    policy = {
        "deadLetterTargetArn": answer["Attributes"]["QueueArn"],
        "maxReceiveCount": MAX_RECEIVE_COUNT,
    }
    return _get_or_create(client, name, ATTRIBUTES | fifo | {"RedrivePolicy": json.dumps(policy)})


def _get_or_create(client: "SQSClient", name: str, attributes: Any) -> str:
    try:
        return client.get_queue_url(QueueName=name)["QueueUrl"]
    except client.exceptions.QueueDoesNotExist:
        return client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
