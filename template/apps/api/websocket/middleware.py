"""Checks of a WebSocket handshake: those of HTTP, then the credentials.

Three kinds of credentials are accepted. The first one present decides, and if it is invalid the
connection is closed:

- ``Authorization: Bearer <jwt>``, for programs;
- the subprotocols ``jwt`` and the token itself, for pages (``new WebSocket(url, ["jwt", token])``);
- the session cookie. Browsers add it to a WebSocket that any page opens, so the page's Origin must
  be the service's own or one that may call the API (RFC 6455, section 10.2; OWASP ASVS 5.0: 4.4.2).
  A client that sends no Origin is not a browser.

It puts the ``Credentials`` into ``scope["credentials"]``, or None if there are none.
"""

from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from channels.routing import URLRouter
from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.security import SecurityMiddleware
from django.urls import re_path
from rest_framework.exceptions import AuthenticationFailed

from apps.api.websocket.codes import CloseCode
from apps.api.websocket.credentials import Credentials, from_header, from_jwt, from_session

# The subprotocol of the response. The token beside it is never sent back.
JWT_SUBPROTOCOL = "jwt"

type Scope = dict[str, Any]


def _respond(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


_cors = CorsMiddleware(_respond)


class HandshakeMiddleware:
    """Refuse what HTTP refuses or redirects: a wrong ``Host``, plain ``ws://``, a NUL.

    It runs before Channels reads the session, and puts the ``request`` into the scope.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        # Daphne takes the root path from a header that any client can send.
        path = scope["path"].removeprefix(settings.FORCE_SCRIPT_NAME or "")
        scope = {**scope, "path": path, "root_path": ""}
        request = _request(scope)
        if _is_refused(request):
            await deny(scope, receive, send)
        else:
            await self.inner({**scope, "request": request}, receive, send)


class CredentialsMiddleware:
    """Put ``credentials`` and ``user`` into the scope, or close the connection."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        offered = JWT_SUBPROTOCOL in scope["subprotocols"]
        scope = {**scope, "subprotocol": JWT_SUBPROTOCOL if offered else None}
        try:
            scope["credentials"] = await self._credentials(scope)
        except AuthenticationFailed:
            await refuse(scope, receive, send)
        except PermissionDenied:
            await deny(scope, receive, send)
        else:
            if scope["credentials"]:
                scope["user"] = scope["credentials"].user
            await self.inner(scope, receive, send)

    async def _credentials(self, scope: Scope) -> Credentials | None:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if headers:
            return await database_sync_to_async(from_header)(b",".join(headers))
        if scope["subprotocol"]:
            return await database_sync_to_async(from_jwt)(_token_beside(scope["subprotocols"]))
        if not _may_use_cookies(scope["request"]):
            raise PermissionDenied
        if scope["user"].is_authenticated:
            return await database_sync_to_async(from_session)(scope["session"].session_key)
        return None


def router(routes: list[Any]) -> URLRouter:
    """Return Channels' router, with a 403 for an unknown path instead of an exception."""
    return URLRouter([*routes, re_path("", deny)])  # type: ignore[arg-type, list-item]


async def deny(_scope: Scope, receive: Any, send: Any) -> None:
    """Close before accepting, to which the server responds with 403.

    Not the "websocket.http.response" extension: Daphne lacks it, and uvicorn logs it as an error.
    """
    await receive()
    await send({"type": "websocket.close"})


async def refuse(scope: Scope, receive: Any, send: Any) -> None:
    """Accept and close with a code. Before accepting, a code would be lost."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocol"]})
    await send({"type": "websocket.close", "code": int(CloseCode.NOT_AUTHENTICATED)})


def _request(scope: Scope) -> HttpRequest:
    """Return the handshake as a request, for Django's checks.

    Some proxies write ``X-Forwarded-Proto: wss``, which means https.
    """
    headers = [
        (name, b"https" if (name, value) == (b"x-forwarded-proto", b"wss") else value)
        for name, value in scope["headers"]
        if name != b"content-type"
    ]
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    http = {"method": "GET", "scheme": scheme, "headers": headers, "query_string": b""}
    return ASGIRequest({**scope, **http}, BytesIO())


def _is_refused(request: HttpRequest) -> bool:
    if any("\0" in text for cookie in request.COOKIES.items() for text in cookie):
        return True  # a query with a NUL may fail
    try:
        request.get_host()
    except DisallowedHost:
        return True
    return SecurityMiddleware(_respond).process_request(request) is not None


def _may_use_cookies(request: HttpRequest) -> bool:
    origin = request.headers.get("Origin")
    if origin is None or origin == f"{request.scheme}://{request.get_host()}":
        return True
    try:
        return bool(_cors.origin_found_in_white_lists(origin, urlsplit(origin)))
    except ValueError:
        return False


def _token_beside(subprotocols: list[str]) -> bytes:
    match subprotocols:
        case [first, token] if first == JWT_SUBPROTOCOL:
            return token.encode()
    raise AuthenticationFailed
