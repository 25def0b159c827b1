import os
from argparse import ArgumentParser
from typing import Any, override

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.queues import create_queue
from common.sqs.regions import region_mismatch
from common.sqs.sqs_sync import account_of, sqs_client


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
        variable = "SQS_INBOUND_QUEUE_URL" if inbound else "SQS_QUEUE_URL"
        current_url: str = getattr(settings, variable)
        client = sqs_client(current_url)
        # On stderr, so that the output can be appended to .env.
        self.stderr.write(
            f"Queue: {name}\n"
            f"Endpoint: {client.meta.endpoint_url}\n"
            f"Account: {account_of(client)}\n"
            f"Region: {client.meta.region_name}",
            self.style.NOTICE,
        )
        if mismatch := region_mismatch(current_url):
            self.stderr.write(mismatch)
        if interactive:
            self._confirm()
        try:
            queue = create_queue(client, name)
        except (BotoCoreError, ClientError) as error:
            raise CommandError(str(error)) from error
        for remark in queue.remarks:
            self.stderr.write(remark)
        self.stdout.write(f"{variable}={queue.url}")
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
