"""Graceful shutdown of a loop: waits end immediately, running work is finished."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Seconds between two looks at the flag while a loop waits.
_SLICE = 0.2


class Stop:
    """Whether the process has been asked to stop."""

    def __init__(self) -> None:
        self.requested = False

    def sleep(self, seconds: float) -> None:
        """Sleep until the process is asked to stop, or the time is over."""
        end = time.monotonic() + seconds
        while not self.requested and (rest := end - time.monotonic()) > 0:
            # Not Event.wait(): a signal handler must not take the lock of an event.
            time.sleep(min(rest, _SLICE))


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Handle SIGTERM and SIGINT in the main thread while the block runs.

    A second signal ends the process at once, as it would without this handler.
    """
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = [signal.getsignal(number) for number in numbers]

    def restore() -> None:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.requested = True
        restore()

    for number in numbers:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()
