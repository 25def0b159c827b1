from django.tasks import task

from apps.communication import services


@task
def send_due_emails() -> None:
    """Send what is due: enqueued after each new e-mail, and again for each retry."""
    services.send_due_emails()
