import json
from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand

from apps.event_sync.outgoing.status import get_status


class Command(BaseCommand):
    help = "Show the number of pending and dead events, and the age of the oldest pending one."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        status = get_status()
        if options["json"]:
            self.stdout.write(json.dumps(status))
            return
        self.stdout.write(
            f"pending: {status['pending']}\n"
            f"oldest pending: {status['oldest_pending_seconds']:.0f} s\n"
            f"dead: {status['dead']}"
        )
