"""Graceful shutdown of a loop: waits end immediately, running work gets a deadline."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.conf import settings

# Seconds before ``settings.STOP_TIMEOUT`` at which work is interrupted, to clean up in time.
CLEANUP = 2.0


class Stopped(BaseException):
    """The process has to stop. Not an ``Exception``: handlers do not catch it, transactions roll back."""


class Stop:
    """Whether the process has been asked to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._waiting = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise ``Stopped`` in this block as soon as the process is asked to stop."""
        self._waiting = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def sleep(self, seconds: float) -> None:
        """Sleep. Raises ``Stopped`` as soon as the process is asked to stop."""
        with self.waiting():
            time.sleep(seconds)

    def request(self) -> None:
        self.requested = True
        if self._waiting:
            raise Stopped


@contextmanager
def stop_on_signals(*, timeout: float | None = None) -> Iterator[Stop]:
    """Handle SIGTERM and SIGINT in the main thread while the block runs.

    ``timeout`` seconds after the first signal (by default shortly before ``settings.STOP_TIMEOUT``)
    ``Stopped`` is raised wherever the main thread is.
    """
    stop = Stop()
    deadline = settings.STOP_TIMEOUT - CLEANUP if timeout is None else timeout

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not stop.requested:
            _raise_after(deadline)
        stop.request()

    previous = {
        number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        _raise_after(0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _raise_after(seconds: float) -> None:
    """Raise ``Stopped`` after some seconds, and again each second from then on. 0 cancels it."""
    if sys.platform != "win32":

        def on_deadline(_number: int, _frame: FrameType | None) -> None:
            raise Stopped

        signal.signal(signal.SIGALRM, on_deadline)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)
