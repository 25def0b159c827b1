"""How much one connection may send, and how many connections one user may hold."""

import time

from django.conf import settings
from django.core.cache import cache
from django.db import transaction

from apps.user.models import User


class RateLimit:
    """A bucket of ``count`` messages that fills again evenly in ``seconds``.

    https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._cost = seconds / count
        self._full_at = 0.0

    def allows(self) -> bool:
        """Take one message out of the bucket, and say whether it was in there."""
        now = time.monotonic()
        self._full_at = max(self._full_at, now) + self._cost
        return self._full_at - now <= self._seconds


def lease_seconds() -> float:
    """Return how long a place outlives the last word of its holder: a process that was killed."""
    return 3 * settings.WEBSOCKET_RECHECK_SECONDS


def take_place(user: User, holder: str) -> bool:
    """Take one of the user's places, or keep the one that is already the holder's.

    Places are entries of the cache that all processes share. The lock on the user's row lets one
    process at a time look for a free one, so no two can take the last.
    """
    places = _places(user)
    with transaction.atomic():
        User.objects.select_for_update().filter(pk=user.pk).first()
        taken = cache.get_many(places)
        for place in sorted(places, key=lambda place: taken.get(place) != holder):
            if taken.get(place, holder) == holder:
                cache.set(place, holder, lease_seconds())
                return True
    return False


def leave_place(user: User, holder: str) -> None:
    """Give the holder's place free."""
    cache.delete_many(place for place, by in cache.get_many(_places(user)).items() if by == holder)


def _places(user: User) -> list[str]:
    return [
        f"websocket:{user.pk}:{number}" for number in range(settings.WEBSOCKET_CONNECTIONS_PER_USER)
    ]
