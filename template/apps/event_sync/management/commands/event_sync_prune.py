from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from apps.event_sync.outgoing import outbox


class Command(BaseCommand):
    help = "Delete events that were sent long ago. Unsent events are kept."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days",
            type=float,
            default=30,
            help="Age in days from which sent events are deleted (default: 30).",
        )

    @override
    def handle(self, *args: Any, days: float, **options: Any) -> None:
        if days < 0:
            raise CommandError("--days is 0 or more.")
        self.stdout.write(f"{outbox.prune(days=days)} deleted")
