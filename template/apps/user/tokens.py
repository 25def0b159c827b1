"""JWTs for the API, and the one-time tokens in e-mails.

A one-time token is signed (``django.core.signing``) with its purpose as the salt, so that it works
for no other purpose. It contains a fingerprint of the state that it changes, so it works once. The
fingerprint includes the security stamp, so what ends all sessions of a user also ends the tokens.
OWASP ASVS 5.0: 6.4.1, 6.4.3, 7.2.1, 9.1.1, 9.2.2.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.tokens import AccessToken, Token

from apps.user.models import Session, User


class IssuedToken(NamedTuple):
    token: str
    expired_at: int
    """Seconds until the token expires."""


def seconds_left(jwt: Token) -> int:
    return max(0, int(jwt["exp"] - time.time()))


def issue_jwt(session: Session) -> IssuedToken:
    """Return a JWT that expires with the session (RFC 7519)."""
    jwt = AccessToken()
    jwt["sub"] = str(session.pk)
    jwt["exp"] = int(session.expires_at.timestamp())
    return IssuedToken(str(jwt), seconds_left(jwt))


class OneTimeToken:
    """One kind of one-time token: its purpose, its lifetime, and the state that it changes."""

    def __init__(
        self, purpose: str, lifetime: timedelta, state: Callable[[User], tuple[object, ...]]
    ) -> None:
        self._salt = f"apps.user.tokens.{purpose}"
        self._lifetime = lifetime
        self._state = state

    def issue(self, user: User) -> IssuedToken:
        payload = [user.pk, self._fingerprint(user)]
        return IssuedToken(
            signing.dumps(payload, salt=self._salt), int(self._lifetime.total_seconds())
        )

    def user_id(self, token: str) -> int | None:
        """Return the primary key of the token's user, or None if the token is invalid or expired."""
        payload = self._read(token)
        return payload[0] if payload else None

    def fits(self, token: str, user: User) -> bool:
        """Whether the user is still in the state that the token was issued for."""
        payload = self._read(token)
        return payload is not None and constant_time_compare(payload[1], self._fingerprint(user))

    def _read(self, token: str) -> tuple[int, str] | None:
        try:
            user_id, fingerprint = signing.loads(token, salt=self._salt, max_age=self._lifetime)
        except signing.BadSignature:
            return None
        return user_id, fingerprint

    def _fingerprint(self, user: User) -> str:
        # Cannot be guessed: it includes the password hash, which has a random salt.
        state = repr((user.pk, user.password, user.security_stamp, *self._state(user)))
        return hashlib.sha256(state.encode()).hexdigest()


confirm_email_token = OneTimeToken(
    "confirm_email",
    settings.CONFIRM_EMAIL_LIFETIME,
    lambda user: (user.email, user.email_confirmed_at),
)
confirm_new_email_token = OneTimeToken(
    "confirm_new_email",
    settings.CONFIRM_EMAIL_LIFETIME,
    lambda user: (user.email, user.pending_email),
)
cancel_new_email_token = OneTimeToken(
    "cancel_new_email",
    settings.CONFIRM_EMAIL_LIFETIME,
    lambda user: (user.email, user.pending_email),
)
reset_password_token = OneTimeToken(
    "reset_password", settings.RESET_PASSWORD_LIFETIME, lambda user: (user.email,)
)
