"""Limits: messages of a connection, and open connections of a user."""

import time

from django.conf import settings
from django.core.cache import cache

from apps.user.models import User


class RateLimit:
    """At most ``count`` messages in ``seconds``, as a token bucket.

    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._cost = seconds / count
        self._full_at = 0.0

    def allows(self) -> bool:
        """Count a message, and return whether it is within the limit."""
        now = time.monotonic()
        self._full_at = max(self._full_at, now) + self._cost
        return self._full_at - now <= self._seconds


def lease_seconds() -> float:
    """Return how long a slot is kept without a re-check, for example after a process was killed."""
    return 3 * settings.WEBSOCKET_RECHECK_SECONDS


def take_slot(user: User, connection: str) -> str | None:
    """Take a free connection slot of the user and return its key, or None if there is none.

    Slots are entries of the cache, which all processes share. ``add`` is atomic.
    """
    slots = [
        f"websocket:{user.pk}:{number}" for number in range(settings.WEBSOCKET_CONNECTIONS_PER_USER)
    ]
    taken = cache.get_many(slots)
    free = (slot for slot in slots if slot not in taken)
    return next((slot for slot in free if cache.add(slot, connection, lease_seconds())), None)


def keep_slot(slot: str, connection: str) -> bool:
    """Extend the lease of a slot, and return whether the connection still had it."""
    return cache.get(slot) == connection and cache.touch(slot, lease_seconds())


def release_slot(slot: str, connection: str) -> None:
    if cache.get(slot) == connection:
        cache.delete(slot)
