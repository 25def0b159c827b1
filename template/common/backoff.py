"""Exponential back-off with jitter.

https://en.wikipedia.org/wiki/Exponential_backoff
"""

import random


def backoff(failures: int, *, first: float, longest: float) -> float:
    """Return the seconds to wait after a number of failures in a row, from 1 on.

    The wait doubles from ``first`` to ``longest``. Up to half of it is subtracted at random, so that
    clients that failed together do not return together.
    """
    seconds: float = min(first * 2 ** min(failures - 1, 32), longest)
    return seconds * random.uniform(0.5, 1)  # noqa: S311 - not a secret
