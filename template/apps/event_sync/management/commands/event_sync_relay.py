from argparse import ArgumentParser
from typing import Any, override

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from structlog import get_logger

from apps.event_sync.outgoing.relay import Relay
from common.sqs.sqs_sync import MAX_CONNECTIONS
from common.stopping import stop_on_signals

logger = get_logger(__name__)


class Command(BaseCommand):
    help = (
        "Send events to SQS as they become due, until SIGTERM or Ctrl-C. Several relays can run at"
        " the same time."
    )

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="Exit when nothing is due. For cron."
        )
        parser.add_argument(
            "--threads",
            type=int,
            choices=range(1, MAX_CONNECTIONS + 1),
            default=4,
            metavar="N",
            help="Concurrent requests, up to 32 (default: 4). Each sends up to 10 events.",
        )

    @override
    def handle(self, *args: Any, once: bool, threads: int, **options: Any) -> None:
        if not settings.SQS_QUEUE_URL:
            raise CommandError("SQS_QUEUE_URL is not set: there is no queue to send events to.")
        logger.info("event_sync_relay_started", threads=threads)
        with stop_on_signals() as stop:
            relay = Relay(settings.SQS_QUEUE_URL, stop, threads=threads)
            relay.run(until_empty=once)
        logger.info("event_sync_relay_stopped", **relay.counts)
        if once:
            if relay.outage:
                raise CommandError(
                    f"SQS is not available. The events remain in the table. {relay.outage.error}"
                )
            counts = ", ".join(f"{count} {name}" for name, count in sorted(relay.counts.items()))
            self.stdout.write(counts or "nothing due")
