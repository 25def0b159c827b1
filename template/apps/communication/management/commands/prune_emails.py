from argparse import ArgumentParser
from typing import Any, override

from django.core.management.base import BaseCommand, CommandError

from apps.communication.services import prune_emails


class Command(BaseCommand):
    help = "Delete old e-mails from the log. E-mails that are not sent yet are kept."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days",
            type=float,
            default=90,
            help="Age in days from which e-mails are deleted (default: 90).",
        )

    @override
    def handle(self, *args: Any, days: float, **options: Any) -> None:
        if days < 0:
            raise CommandError("--days is 0 or more.")
        self.stdout.write(f"{prune_emails(days=days)} deleted")
