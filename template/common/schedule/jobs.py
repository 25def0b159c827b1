"""Run the management commands in ``settings.SCHEDULE``, each once in its interval."""

import shlex
from datetime import timedelta
from io import StringIO

from django.conf import settings
from django.core.management import call_command
from django.db.models import Q
from django.utils import timezone
from structlog import get_logger

from common.schedule.models import Job

logger = get_logger(__name__)


def run_due_jobs() -> None:
    for command, interval in settings.SCHEDULE.items():
        if _claim(command, interval):
            _run(command)


def _claim(command: str, interval: timedelta) -> bool:
    """Return whether the command is due, for this scheduler only.

    A command that fails or is killed runs again after the interval.
    """
    job, _created = Job.objects.get_or_create(command=command)
    now = timezone.now()
    due = Job.objects.filter(Q(started_at=None) | Q(started_at__lte=now - interval), pk=job.pk)
    return due.update(started_at=now) == 1


def _run(command: str) -> None:
    output = StringIO()
    try:
        call_command(*shlex.split(command), stdout=output)
    except Exception:
        logger.exception("job_failed", command=command)
    else:
        logger.info("job_finished", command=command, output=output.getvalue().strip())
