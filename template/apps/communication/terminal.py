import sys
from collections.abc import Sequence
from typing import override

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend


class EmailBackend(BaseEmailBackend):
    """Print e-mails as people read them, instead of sending them. For development."""

    @override
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        for message in email_messages:
            sys.stdout.write(
                f"{'-' * 79}\n"
                f"From: {message.from_email}\n"
                f"To: {', '.join(message.to)}\n"
                f"Subject: {message.subject}\n\n"
                f"{message.body}\n{'-' * 79}\n"
            )
            sys.stdout.flush()
        return len(email_messages)
