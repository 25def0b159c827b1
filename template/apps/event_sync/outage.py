import time

from structlog import get_logger

from common.backoff import backoff

logger = get_logger(__name__)

# Seconds between attempts to reach SQS or the database again.
FIRST_PAUSE = 1
LONGEST_PAUSE = 60


class Outage:
    """Remembers that a service does not respond, and when to try again (a circuit breaker)."""

    def __init__(
        self, name: str, *, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE
    ) -> None:
        self._name = name
        self._first = first
        self._longest = longest
        self._failures = 0
        self._until = 0.0
        self.error = ""

    def __bool__(self) -> bool:
        """Return whether the last attempt failed."""
        return self._failures > 0

    def remaining(self) -> float:
        """Return the seconds until the next attempt."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, error: str) -> None:
        """Record a failure. Failures of concurrent requests count as one."""
        if self.remaining():
            return
        self._failures += 1
        pause = backoff(self._failures, first=self._first, longest=self._longest)
        self._until = time.monotonic() + pause
        self.error = error
        logger.warning("event_sync_outage", of=self._name, error=error, pause=round(pause, 1))

    def end(self) -> None:
        """Record a success."""
        if self._failures:
            logger.info("event_sync_outage_over", of=self._name)
        self._failures, self._until = 0, 0.0
