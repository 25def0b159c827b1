from typing import Any, override

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseFailure
from django.db import close_old_connections
from structlog import get_logger

from common import telemetry
from common.schedule.jobs import run_due_jobs
from common.stopping import stop_on_signals

# Seconds between two checks of the schedule.
POLL = 30

logger = get_logger(__name__)


class Command(BaseCommand):
    help = (
        "Run the commands in the setting SCHEDULE when they are due, until SIGTERM or Ctrl-C. If"
        " several schedulers run, each command is run by one of them."
    )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        logger.info("scheduler_started")
        with stop_on_signals() as stop:
            while not stop.requested:
                try:
                    run_due_jobs()
                    telemetry.measure()
                except DatabaseFailure as error:
                    logger.warning("schedule_not_read", error=error)
                close_old_connections()
                stop.sleep(POLL)
        logger.info("scheduler_stopped")
