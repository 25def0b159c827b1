from argparse import ArgumentParser
from typing import Any, override

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.inbound.queue import LONG_POLL, Consumer
from common.stopping import stop_on_signals


class Command(BaseCommand):
    help = "Process confirmations from the queue SQS_INBOUND_QUEUE_URL, until SIGTERM or Ctrl-C."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="Exit when the queue is empty. For cron."
        )

    @override
    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if not settings.SQS_INBOUND_QUEUE_URL:
            raise CommandError("SQS_INBOUND_QUEUE_URL is not set: there is no queue to read.")
        with stop_on_signals() as stop:
            consumer = Consumer(
                settings.SQS_INBOUND_QUEUE_URL, stop, long_poll=1 if once else LONG_POLL
            )
            outcomes = consumer.run(until_empty=once)
        summary = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        self.stdout.write(summary or "nothing received")
