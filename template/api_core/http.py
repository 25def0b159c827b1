"""HTTP under ASGI: each request is one call of the WSGI application in a thread.

Django's own ASGI handler changes between the event loop and a thread for each middleware, which
costs more than the work itself: https://code.djangoproject.com/ticket/37177

A slow client needs no thread: the event loop reads the body before the call, and sends the response
after it. Only a streaming response is sent by its thread, since its content may come from the
database. PEP 3333 describes the environ, and asgi.readthedocs.io the messages.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from io import BytesIO
from queue import SimpleQueue
from typing import Any

from django.conf import settings

from api_core.wsgi import application
from common.drf.health import LIVENESS_PATH

type Message = dict[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

# Requests that have no response yet. The event loop itself has only weak references to its tasks.
in_flight: set[asyncio.Task[None]] = set()

_calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()


def _run_calls() -> None:
    while True:
        future, call = _calls.get()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised where the call is awaited
                future.set_exception(error)


# Daemons: Python's own pool would wait at exit for a thread that waits for the event loop.
for number in range(settings.WEB_THREADS):
    threading.Thread(target=_run_calls, name=f"http-{number}", daemon=True).start()


def in_thread[T](call: Callable[[], T]) -> asyncio.Future[T]:
    future: Future[T] = Future()
    _calls.put((future, call))
    return asyncio.wrap_future(future)


async def http(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve a request (an ASGI application). It goes on if the server cancels it."""
    request = asyncio.create_task(_serve(scope, receive, send))
    in_flight.add(request)
    request.add_done_callback(in_flight.discard)
    await asyncio.shield(request)


async def _serve(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    environ = _environ(scope)
    body = await _read_body(environ, receive)
    if body is None:
        return
    environ["wsgi.input"] = BytesIO(body)
    loop = asyncio.get_running_loop()
    client_left: asyncio.Future[Message] | None = None

    async def send_and_watch(message: Message) -> bool:
        nonlocal client_left
        client_left = client_left or asyncio.ensure_future(receive())
        await send(message)
        return not client_left.done()

    def send_chunk(message: Message) -> bool:
        """Send from a thread, and return whether the client is still there."""
        return asyncio.run_coroutine_threadsafe(send_and_watch(message), loop).result()

    call = partial(_call, environ, send_chunk)
    # LivenessMiddleware does not block. It responds while all threads are busy.
    is_liveness = environ["PATH_INFO"] == LIVENESS_PATH and environ["REQUEST_METHOD"] == "GET"
    try:
        if whole := call() if is_liveness else await in_thread(call):
            await _send_whole(send, *whole)
        else:
            await send({"type": "http.response.body"})
    finally:
        if client_left:
            client_left.cancel()


async def _read_body(environ: dict[str, Any], receive: Receive) -> bytes | None:
    """Return as much of the body as its limit needs, or None if the client disconnects before."""
    limit, body, more = settings.REQUEST_BODY_MAX_BYTES, bytearray(), True
    if int(environ.get("CONTENT_LENGTH") or 0) > limit:
        return b""
    while more and len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _call(
    environ: dict[str, Any], send_chunk: Callable[[Message], bool]
) -> tuple[str, list[tuple[str, str]], bytes] | None:
    """Call the WSGI application. Return the whole response, or None if it was sent in chunks."""
    started: list[Any] = []
    response: Any = application(environ, lambda *start: started.append(start))  # type: ignore[arg-type]
    try:
        status, headers = started[0]
        if not response.streaming:
            return status, headers, b"".join(response)
        send_chunk(_start(status, headers))
        for chunk in response:
            if not send_chunk({"type": "http.response.body", "body": chunk, "more_body": True}):
                break
        return None
    finally:
        # Returns the connection of the database to the pool, so it has to be in this thread.
        response.close()


async def _send_whole(
    send: Send, status: str, headers: list[tuple[str, str]], content: bytes
) -> None:
    await send(_start(status, headers))
    await send({"type": "http.response.body", "body": content})


def _start(status: str, headers: list[tuple[str, str]]) -> Message:
    return {
        "type": "http.response.start",
        "status": int(status[:3]),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }


def _environ(scope: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environ, without the headers by which a client could pass for a proxy."""
    # Not the root_path of the scope: a server may take it from a header that any client can send.
    script_name = settings.FORCE_SCRIPT_NAME or ""
    server, client = scope.get("server") or ("localhost", 80), scope.get("client")
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script_name,
        "PATH_INFO": scope["path"].removeprefix(script_name).encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if client:
        environ |= {"REMOTE_ADDR": client[0], "REMOTE_PORT": str(client[1])}
    for name, value in scope["headers"]:
        # In an environ, X_Forwarded_For has the name of X-Forwarded-For.
        if b"_" in name:
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ
