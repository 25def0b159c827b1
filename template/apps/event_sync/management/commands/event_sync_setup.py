import os
from argparse import ArgumentParser
from typing import Any, override

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.queues import make_queue
from common.sqs.sqs_sync import sqs_client


class Command(BaseCommand):
    help = (
        "Make a queue and its dead-letter queue, where they do not exist, and print the variables"
        " that name it."
    )

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="Of the queue; one that ends in .fifo keeps an order.")
        parser.add_argument(
            "--inbound",
            action="store_true",
            help="The queue that event_sync_consume reads, instead of the one for events.",
        )

    @override
    def handle(self, *args: Any, name: str, inbound: bool, **options: Any) -> None:
        client = sqs_client()
        try:
            queue = make_queue(client, name)
        except (BotoCoreError, ClientError) as error:
            raise CommandError(str(error)) from error
        for remark in queue.remarks:
            self.stderr.write(remark)
        variable = "SQS_INBOUND_QUEUE_URL" if inbound else "SQS_QUEUE_URL"
        self.stdout.write(f"{variable}={queue.url}")
        self.stdout.write(f"AWS_DEFAULT_REGION={settings.AWS_DEFAULT_REGION}")
        for elsewhere in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"):
            if elsewhere in os.environ:
                self.stdout.write(f"{elsewhere}={os.environ[elsewhere]}")
