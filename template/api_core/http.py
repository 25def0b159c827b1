"""HTTP under ASGI: each request is one call of the WSGI application in a thread pool.

Django's own ASGI handler changes between the event loop and a thread for each middleware, which
costs more than the work itself: https://code.djangoproject.com/ticket/37177
"""

import asyncio
from typing import Any

from a2wsgi import WSGIMiddleware
from django.conf import settings

from api_core.wsgi import application

_wsgi: Any = WSGIMiddleware(
    application,  # type: ignore[arg-type]  # a2wsgi has its own types for WSGI
    workers=settings.WEB_THREADS,
)


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
    # A server may cancel a request whose client left. The thread goes on, and would wait for ever
    # to send its response if this were cancelled too.
    await asyncio.shield(_wsgi(scope, receive_body, send))
