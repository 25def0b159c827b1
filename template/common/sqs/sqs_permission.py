"""Who may confirm our events: the services that hold the key ``APP_KEY``.

A key is rotated without a gap: put the new one in ``APP_KEY``, the former ones in
``APP_KEY_FALLBACKS``, give the new one to the other services, and take the former ones away.
OWASP ASVS 5.0: 11.2.4 (no comparison whose time tells), 13.3.4 (secrets are rotated).
"""

import hashlib
import hmac

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView


class IsSqsAuthenticated(BasePermission):
    """Let in ``Authorization: Token <APP_KEY>``, and nothing else."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return is_app_key(_token(request))


class SqsAuthentication(BaseAuthentication):
    """Tells a client what ``IsSqsAuthenticated`` asks for: 401 and ``WWW-Authenticate: Token``.

    It authenticates no user: a service has a key and no account (RFC 9110, 11.6.1).
    """

    def authenticate(self, request: Request) -> None:
        return None

    def authenticate_header(self, request: Request) -> str:
        return "Token"


class SqsAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The same for readers of the OpenAPI schema."""

    target_class = SqsAuthentication
    name = "appKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token <APP_KEY>`: the key that the services share.",
        }


def is_app_key(given: bytes) -> bool:
    """Say whether this is one of our keys; its time depends on neither the key nor the place.

    Hashed, all have one length; and all are compared, whichever of them matches. An empty key
    is none, so that a service without ``APP_KEY`` lets nobody in.
    """
    digest = hashlib.sha256(given).digest()
    matches = [
        hmac.compare_digest(hashlib.sha256(key.encode()).digest(), digest)
        for key in (settings.APP_KEY, *settings.APP_KEY_FALLBACKS)
        if key
    ]
    return any(matches)


def _token(request: Request) -> bytes:
    header: str = request.META.get("HTTP_AUTHORIZATION", "")
    # Servers decode a header as Latin-1 (PEP 3333), whatever bytes the client sent.
    scheme, _space, token = header.encode("latin-1", "backslashreplace").partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"token" else b""
