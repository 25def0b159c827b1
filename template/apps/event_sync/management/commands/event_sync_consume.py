from argparse import ArgumentParser
from typing import Any, override

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.consumer import LONG_POLL, VISIBILITY, Consumer
from apps.event_sync.stopping import StopSignals


class Command(BaseCommand):
    help = "Take other services' confirmations from the queue SQS_INBOUND_QUEUE_URL, until SIGTERM."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="Handle what is in the queue, and end. For cron."
        )
        parser.add_argument(
            "--visibility",
            type=int,
            default=VISIBILITY,
            metavar="SECONDS",
            help=(
                "How long a message stays hidden when the consumer that holds it dies;"
                f" {VISIBILITY} by default. While it lives, none comes back, however slow its handler."
            ),
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SQS_INBOUND_QUEUE_URL:
            raise CommandError("SQS_INBOUND_QUEUE_URL names no queue.")
        once = options["once"]
        with StopSignals() as stop:
            consumer = Consumer(
                settings.SQS_INBOUND_QUEUE_URL,
                stop,
                long_poll=1 if once else LONG_POLL,
                visibility=options["visibility"],
            )
            outcomes = consumer.run(until_empty=once)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        self.stdout.write(summary or "nothing received")
