"""Authentication of other services by the shared key ``APP_KEY``.

To rotate the key without an interruption: set ``APP_KEY`` to the new key and ``APP_KEY_FALLBACKS``
to the previous ones, give the new key to the other services, then remove the previous ones.
OWASP ASVS 5.0: 11.2.4 (constant-time comparison), 13.3.4 (rotation of secrets).
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
    """Allow requests with ``Authorization: Token <APP_KEY>`` only."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return is_app_key(_token(request))


class SqsAuthentication(BaseAuthentication):
    """Respond with 401 and ``WWW-Authenticate: Token`` (RFC 9110, 11.6.1) instead of 403.

    It authenticates no user, since services have a key but no account.
    """

    def authenticate(self, request: Request) -> None:
        return None

    def authenticate_header(self, request: Request) -> str:
        return "Token"


class SqsAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes ``SqsAuthentication`` in the OpenAPI schema."""

    target_class = SqsAuthentication
    name = "appKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token <APP_KEY>`, the key that the services share.",
        }


def is_app_key(given: bytes) -> bool:
    """Return whether this is one of our keys, in a time that does not depend on the keys.

    Hashes have the same length, and all are compared. Empty keys do not count, so that a service
    without ``APP_KEY`` accepts no request.
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
    # WSGI servers decode headers as Latin-1 (PEP 3333).
    scheme, _space, token = header.encode("latin-1", "backslashreplace").partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"token" else b""
