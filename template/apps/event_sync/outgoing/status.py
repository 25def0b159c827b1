"""The state of the outbox, for monitoring."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import DatabaseError
from django.db.models import Count, DurationField, ExpressionWrapper, Min, Q
from django.db.models.functions import Now
from structlog import get_logger

from apps.event_sync.models import EventSync
from common.drf.health import State

logger = get_logger(__name__)

# Seconds that an event may wait before readiness reports a warning.
LONGEST_WAIT = 300


@dataclass(frozen=True, kw_only=True)
class Status:
    """Number of unsent events, and the age of the oldest one in seconds."""

    pending: int
    dead: int
    oldest_pending_seconds: float


def get_status() -> Status:
    """Count the unsent events."""
    waiting = Q(state__in=EventSync.WAITING)
    age = ExpressionWrapper(Now() - Min("created", filter=waiting), DurationField())
    row = EventSync.objects.filter(sent__isnull=True).aggregate(
        pending=Count("pk", filter=waiting),
        dead=Count("pk", filter=Q(state=EventSync.State.DEAD)),
        age=age,
    )
    age_of_oldest: timedelta = row["age"] or timedelta()
    return Status(
        pending=row["pending"],
        dead=row["dead"],
        oldest_pending_seconds=age_of_oldest.total_seconds(),
    )


def check_event_sync() -> State:
    """Return a warning if events are dead or have waited for too long. It is no reason for a 503."""
    late = Q(state__in=EventSync.WAITING, created__lt=Now() - timedelta(seconds=LONGEST_WAIT))
    dead = Q(state=EventSync.State.DEAD)
    try:
        # exists(), not a count: probes are frequent.
        return (
            "warning" if EventSync.objects.filter(late | dead, sent__isnull=True).exists() else "ok"
        )
    except DatabaseError as error:
        logger.warning("event_sync_status_unknown", error=error)
        return "warning"
