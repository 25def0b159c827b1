"""Authenticate a WebSocket on connect, and re-check it while it is open.

JWTs are checked by the same class as for HTTP. All functions are synchronous and use the database.
OWASP ASVS 5.0: 4.4.3, 4.4.4, 7.4.1, 7.4.2.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import NamedTuple, cast

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import constant_time_compare
from rest_framework.exceptions import AuthenticationFailed
from rest_framework_simplejwt.authentication import JWTAuthentication

from apps.user.models import User

_http = JWTAuthentication()


class Credentials(NamedTuple):
    """A user, and how to check again whether the credentials are still valid."""

    user: User
    expires_at: float
    """Unix time, in seconds."""
    check_again: Callable[[], "Credentials"]
    """Raises ``AuthenticationFailed``."""


def from_header(header: bytes) -> Credentials:
    """Authenticate by ``Bearer <jwt>``. Raises ``AuthenticationFailed`` for any other header."""
    match header.split():
        case [scheme, token] if scheme.lower() == b"bearer":
            return from_jwt(token)
    raise AuthenticationFailed


def from_jwt(token: bytes) -> Credentials:
    """Authenticate by a JWT. Raises ``AuthenticationFailed`` if HTTP would respond with 401."""
    jwt = _http.get_validated_token(token)
    return Credentials(
        user=cast(User, _http.get_user(jwt)),
        expires_at=jwt["exp"],
        check_again=partial(from_jwt, token),
    )


def from_session(key: str | None) -> Credentials:
    """Authenticate by a session. Raises ``AuthenticationFailed`` if it has no (active) user.

    Not ``django.contrib.auth.get_user``, which renews a session after the secret key has changed:
    the new cookie cannot be sent over a WebSocket.
    """
    store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
    session = store(key)
    user = User.objects.filter(pk=session.get(SESSION_KEY, 0), is_active=True).first()
    if user is None or not _is_signed(session, user):
        raise AuthenticationFailed
    return Credentials(
        user=user,
        expires_at=session.get_expiry_date().timestamp(),
        check_again=partial(from_session, key),
    )


def _is_signed(session: SessionBase, user: User) -> bool:
    stored = session.get(HASH_SESSION_KEY, "")
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(stored, valid) for valid in hashes)
