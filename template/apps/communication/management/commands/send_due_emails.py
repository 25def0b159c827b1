from typing import Any, override

from django.core.management.base import BaseCommand

from apps.communication.tasks import send_due_emails


class Command(BaseCommand):
    help = "Send the e-mails that are due, in addition to the worker."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        states = send_due_emails.call()
        summary = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        self.stdout.write(summary or "nothing due")
