"""Waits of the loops that run until they are stopped."""

import os
import signal
import time
from threading import Timer

from common.stopping import Stop, stop_on_signals


def test_a_sleep_lasts_as_long_as_it_should() -> None:
    started = time.monotonic()
    Stop().sleep(0.3)
    assert 0.3 <= time.monotonic() - started < 10


def test_a_signal_ends_a_sleep() -> None:
    started = time.monotonic()
    with stop_on_signals() as stop:
        timer = Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        stop.sleep(60)
        timer.cancel()  # after the block, a signal would end the tests
    assert stop.requested
    assert time.monotonic() - started < 10
