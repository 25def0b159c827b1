"""HTTP under ASGI: each request is one call of the WSGI application in a thread pool.

Django's own ASGI handler changes between the event loop and a thread for each middleware, which
costs more than the work itself: https://code.djangoproject.com/ticket/37177
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, override

from a2wsgi import WSGIMiddleware
from django.conf import settings

from api_core.wsgi import application


class DaemonThreadPool(Executor):
    """Threads that do not keep a stopping process alive.

    At exit, Python joins the threads of its own pool. A thread that sends a response to an event
    loop that has ended would block the exit forever.
    """

    def __init__(self, threads: int) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        for number in range(threads):
            threading.Thread(target=self._run, name=f"http-{number}", daemon=True).start()

    @override
    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - raised where the call is awaited
                    future.set_exception(error)


_wsgi: Any = WSGIMiddleware(application)  # type: ignore[arg-type]  # it has its own types for WSGI
_wsgi.executor = DaemonThreadPool(settings.WEB_THREADS)

# The event loop itself only has weak references to its tasks.
in_flight: set[asyncio.Task[None]] = set()


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve a request, without the headers by which a client could pass for a proxy."""

    async def receive_body() -> dict[str, Any]:
        message: dict[str, Any] = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("The client disconnected before the end of the body.")
        return message

    scope = {
        **scope,
        # In a WSGI environ, X_Forwarded_For has the name of X-Forwarded-For.
        "headers": [(name, value) for name, value in scope["headers"] if b"_" not in name],
        # A server may take it from a header that any client can send.
        "root_path": settings.FORCE_SCRIPT_NAME or "",
    }
    request = asyncio.create_task(_wsgi(scope, receive_body, send))
    in_flight.add(request)
    request.add_done_callback(in_flight.discard)
    # If the server cancels the request, the thread goes on and needs this task to send its response.
    await asyncio.shield(request)
