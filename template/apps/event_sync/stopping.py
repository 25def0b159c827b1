"""Stop a loop in time: what waits ends at once, what works at a deadline.

Docker, Kubernetes and systemd send SIGTERM, and kill a process that is still there after their
own limit: 10 seconds, where Docker is not told otherwise.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

# Seconds that the work under way has to end by itself, and then what tidies up after it.
GRACE = 6.0
TIDYING = 1.5


class Stopped(BaseException):
    """The process is to end. No ``except Exception`` holds it up; transactions roll back."""


class StopSignals:
    """Takes SIGTERM and SIGINT for as long as the block lasts, in the main thread."""

    def __init__(self, *, grace: float = GRACE) -> None:
        self.requested = False
        self._grace = grace
        self._waiting = False
        self._former = {number: signal.getsignal(number) for number in _taken()}

    def __enter__(self) -> Self:
        for number in self._former:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _set_deadline(0)
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise ``Stopped`` out of this block as soon as the process is to end."""
        self._waiting = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def sleep(self, seconds: float) -> None:
        """Sleep; raises ``Stopped`` as soon as the process is to end."""
        with self.waiting():
            time.sleep(seconds)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number not in {signal.SIGTERM, signal.SIGINT}:
            raise Stopped  # The deadline.
        if not self.requested:
            self.requested = True
            _set_deadline(self._grace)
        if self._waiting:
            raise Stopped


def _taken() -> list[signal.Signals]:
    taken = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32":
        taken.append(signal.SIGALRM)
    return taken


def _set_deadline(seconds: float) -> None:
    """Raise ``Stopped`` in so many seconds, and now and then from there on; 0 takes it back."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds, TIDYING)
