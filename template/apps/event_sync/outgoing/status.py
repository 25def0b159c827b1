"""The state of the outbox, for monitoring."""

from datetime import timedelta

from django.db import DatabaseError
from django.db.models import Count, Min, Q
from django.db.models.functions import Now
from structlog import get_logger

from apps.event_sync.models import EventSync
from common.drf.health import State

logger = get_logger(__name__)

# Seconds that an event may wait before readiness reports a warning.
LONGEST_WAIT = 300

_WAITING = Q(state__in=EventSync.WAITING)
_DEAD = Q(state=EventSync.State.DEAD)


def get_status() -> dict[str, float]:
    """Return the number of unsent events, and the age of the oldest pending one in seconds."""
    row = EventSync.objects.filter(sent__isnull=True).aggregate(
        pending=Count("pk", filter=_WAITING),
        dead=Count("pk", filter=_DEAD),
        age=Now() - Min("created", filter=_WAITING),
    )
    oldest: timedelta = row.pop("age") or timedelta()
    return {**row, "oldest_pending_seconds": oldest.total_seconds()}


def measure() -> dict[str, float]:
    """Return the status as metrics, for ``settings.MEASUREMENTS``."""
    return {f"event_sync.{name}": value for name, value in get_status().items()}


def check_event_sync() -> State:
    """Return a warning if events are dead or have waited for too long. It is no reason for a 503."""
    late = _WAITING & Q(created__lt=Now() - timedelta(seconds=LONGEST_WAIT))
    try:
        # exists(), not a count: probes are frequent.
        found = EventSync.objects.filter(late | _DEAD, sent__isnull=True).exists()
    except DatabaseError as error:
        logger.warning("event_sync_status_unknown", error=error)
        return "warning"
    return "warning" if found else "ok"
