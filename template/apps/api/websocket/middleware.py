"""Who opens a WebSocket, and from which page.

Three ways in, the first that is there decides, and a proof that fails is never passed over:

- ``Authorization: Bearer <jwt>``, for programs;
- the subprotocols ``jwt`` and the token itself, for pages (``new WebSocket(url, ["jwt", token])``);
- the session's cookie, which browsers send with any page's request: so the page's Origin must be
  the service's own or one that may call the API (RFC 6455, section 10.2; OWASP ASVS 5.0: 4.4.2).

``scope["credentials"]`` is then the proof, or None for a visitor.
"""

from typing import Any
from urllib.parse import urlsplit

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from corsheaders.middleware import CorsMiddleware
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import re_path
from rest_framework.exceptions import AuthenticationFailed

from apps.api.websocket.codes import CloseCode
from apps.api.websocket.credentials import Credentials, from_header, from_jwt, from_session

# The one subprotocol that is selected back; the token beside it never is.
JWT_SUBPROTOCOL = "jwt"

type Scope = dict[str, Any]

_cors = CorsMiddleware(lambda _request: HttpResponse())


class CredentialsMiddleware:
    """Put ``credentials`` and ``user`` into the scope, or end the connection."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        offered = JWT_SUBPROTOCOL in scope["subprotocols"]
        scope = {**scope, "subprotocol": JWT_SUBPROTOCOL if offered else None}
        try:
            scope["credentials"] = await self._credentials(scope)
        except AuthenticationFailed:
            await refuse(scope, receive, send)
        except (DisallowedHost, PermissionDenied):
            await deny(receive, send)
        else:
            if scope["credentials"]:
                scope["user"] = scope["credentials"].user
            await self.inner(scope, receive, send)

    async def _credentials(self, scope: Scope) -> Credentials | None:
        request = _request(scope)
        own_origin = f"{request.scheme}://{request.get_host()}"
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if headers:
            return await database_sync_to_async(from_header)(b",".join(headers))
        if scope["subprotocol"]:
            return await database_sync_to_async(from_jwt)(_token_beside(scope["subprotocols"]))

        by_session = scope["user"].is_authenticated
        origin = request.headers.get("Origin")
        if not (_may_call(origin, own_origin) if origin else not by_session):
            raise PermissionDenied
        if by_session:
            return await database_sync_to_async(from_session)(scope["session"].session_key)
        return None


def router(routes: list[Any]) -> URLRouter:
    """Return Channels' router, with an answer for an unknown path instead of an exception."""
    return URLRouter([*routes, re_path("", unknown_path)])  # type: ignore[arg-type, list-item]


async def unknown_path(scope: Scope, receive: Any, send: Any) -> None:
    await deny(receive, send)


async def deny(receive: Any, send: Any) -> None:
    """End the handshake with the server's 403: whoever sent this is told no more.

    The extension for other answers is not used: Daphne lacks it, and uvicorn logs it as an error.
    """
    await receive()
    await send({"type": "websocket.close"})


async def refuse(scope: Scope, receive: Any, send: Any) -> None:
    """Close with a code that tells the client why: it needs an open connection to arrive."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocol"]})
    await send({"type": "websocket.close", "code": int(CloseCode.NOT_AUTHENTICATED)})


def _request(scope: Scope) -> HttpRequest:
    """Return the handshake as Django's own checks of host and scheme read it."""
    request = HttpRequest()
    for name, value in scope["headers"]:
        # A name with an underscore could pass for one that only a proxy may write.
        if b"_" not in name:
            key = name.decode("latin1").upper().replace("-", "_")
            request.META[f"HTTP_{key}"] = value.decode("latin1")
    return request


def _token_beside(subprotocols: list[str]) -> bytes:
    match subprotocols:
        case [first, token] if first == JWT_SUBPROTOCOL:
            return token.encode()
    raise AuthenticationFailed


def _may_call(origin: str, own_origin: str) -> bool:
    return origin == own_origin or _cors.origin_found_in_white_lists(origin, urlsplit(origin))
