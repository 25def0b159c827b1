from typing import Any, override

from django.core.management.base import BaseCommand

from apps.communication.services import send_due_emails


class Command(BaseCommand):
    help = "Send the e-mails that are due, and those whose retry is. For cron, beside the worker."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        outcomes = send_due_emails()
        summary = ", ".join(f"{count} {state}" for state, count in sorted(outcomes.items()))
        self.stdout.write(summary or "nothing due")
