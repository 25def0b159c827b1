"""Let Daphne respond to the requests in flight before it stops. Otherwise it cancels them.

https://github.com/django/daphne/blob/4.2.3/daphne/server.py (``kill_all_applications``)
"""

import asyncio

from django.conf import settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from api_core.http import in_flight


async def finish_requests() -> None:
    if in_flight:
        await asyncio.wait(in_flight, timeout=settings.STOP_TIMEOUT)
    # Daphne then closes the connections, and drops what it has not written to them yet.
    await asyncio.sleep(1)


def finish_requests_before_shutdown() -> None:
    """Have Twisted wait: https://docs.twisted.org/en/stable/core/howto/reactor-basics.html"""
    reactor.addSystemEventTrigger(  # Twisted types it without self
        "before",
        "shutdown",  # type: ignore[arg-type]
        lambda: Deferred.fromFuture(asyncio.ensure_future(finish_requests())),
    )
