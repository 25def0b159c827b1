"""Every change of a user, for views, commands, tasks and tests.

Functions that take a one-time token lock the user's row while they check and use it, so that
two concurrent requests cannot both succeed.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework.exceptions import ValidationError as ApiValidationError
from rest_framework_simplejwt.settings import api_settings as jwt_settings
from structlog import get_logger

from apps.communication.emails import QueueableEmail
from apps.user import emails
from apps.user.errors import (
    CurrentPasswordRequiredError,
    EmailNotConfirmedError,
    EmailTakenError,
    InvalidTokenError,
    SessionEndedError,
    StaffAccountError,
    WrongCredentialsError,
    WrongPasswordError,
)
from apps.user.models import Session, User
from apps.user.tokens import (
    IssuedToken,
    OneTimeToken,
    cancel_new_email_token,
    confirm_email_token,
    confirm_new_email_token,
    reset_password_token,
)
from common.email_addresses import normalise_email

logger = get_logger(__name__)


class Device(NamedTuple):
    """What a session stores about the client."""

    address: str | None = None
    user_agent: str = ""


def register(*, email: str, password: str, **profile: Any) -> tuple[User, IssuedToken]:
    """Create a user and queue the e-mail that confirms the address.

    Returns the user and a token that confirms the address. Raises ``EmailTakenError`` after
    notifying the address's owner, and ``ValidationError`` if the password is weak.
    """
    check_password_strength(password, User(email=email, **profile))
    _reject_taken_email(email)
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, **profile)
            _queue_if_known(emails.confirm_email, user)
    except IntegrityError as error:
        raise EmailTakenError from error
    logger.info("user_registered", user=user.pk)
    return user, confirm_email_token.issue(user)


def resend_confirmation(*, email: str) -> None:
    """Queue the confirmation e-mail again if the address has an unconfirmed account."""
    user = _get_recoverable_user(email)
    if user and user.email_confirmed_at:
        user = None
    _queue_if_known(emails.confirm_email, user)


def confirm_email(*, token: str) -> User:
    """Confirm the address of a registration. Raises ``InvalidTokenError``."""
    with transaction.atomic():
        user = _lock_user(confirm_email_token, token)
        user.email_confirmed_at = timezone.now()
        user.save(update_fields=["email_confirmed_at"])
    logger.info("email_confirmed", user=user.pk)
    return user


def confirm_new_email(*, token: str) -> None:
    """Replace the user's address with the pending one, and end every session.

    Raises ``InvalidTokenError``, and ``EmailTakenError`` if the address has an account by now.
    """
    try:
        with transaction.atomic():
            user = _lock_user(confirm_new_email_token, token)
            if user.pending_email is None:
                raise InvalidTokenError
            old_email = user.email
            user.email, user.email_confirmed_at = user.pending_email, timezone.now()
            _end_sessions(user, "email", "email_confirmed_at")
            notify_email_changed(user, old_email=old_email)
    except IntegrityError as error:
        raise EmailTakenError from error


def cancel_new_email(*, token: str) -> None:
    """Cancel a pending change of the address, and end every session.

    Raises ``InvalidTokenError``.
    """
    with transaction.atomic():
        user = _lock_user(cancel_new_email_token, token)
        _end_sessions(user)
    logger.warning("email_change_cancelled", user=user.pk)


def login(*, email: str, password: str) -> User:
    """Return the user with these credentials, and record the login.

    An unknown account takes as long as a wrong password. Raises ``WrongCredentialsError``, and
    ``EmailNotConfirmedError`` only if the password is correct. OWASP ASVS 5.0: 6.3.8.
    """
    user = authenticate(email=email, password=password)
    if not isinstance(user, User):
        logger.warning("login_failed")
        raise WrongCredentialsError
    if settings.REQUIRE_CONFIRMED_EMAIL and user.email_confirmed_at is None:
        logger.warning("login_before_confirmation", user=user.pk)
        raise EmailNotConfirmedError
    update_last_login(User, user)
    logger.info("login", user=user.pk)
    return user


def start_session(user: User, device: Device) -> Session:
    """Start a session, and end those of the user that exceed ``API_SESSIONS_PER_USER``."""
    session = Session(user=user)
    _record_use(session, device)
    session.save()
    if user.sessions.count() > settings.API_SESSIONS_PER_USER:
        excess = user.sessions.values("pk")[settings.API_SESSIONS_PER_USER :]
        Session.objects.filter(pk__in=excess).delete()
    return session


def refresh_session(user: User, session_id: str, device: Device) -> Session:
    """Extend a session, up to ``API_SESSION_LIFETIME``. Raises ``SessionEndedError``."""
    try:
        session = user.sessions.live().get(pk=session_id)
        _record_use(session, device)
        session.save(update_fields=["last_used_at", "expires_at", "address", "user_agent"])
    except (Session.DoesNotExist, Session.NotUpdated) as error:
        raise SessionEndedError from error
    return session


def end_session(user: User, session_id: str | UUID) -> None:
    """End one session of the user."""
    user.sessions.filter(pk=session_id).delete()
    logger.info("session_ended", user=user.pk)


def end_sessions(user: User) -> None:
    """End every session and admin session of the user, and cancel a pending change of the address."""
    _end_sessions(user)
    logger.info("sessions_ended", user=user.pk)


def delete_account(user: User) -> None:
    """Delete the user and notify the owner of the address.

    Raises ``StaffAccountError`` for staff, superusers and users with entries in the admin's log.
    Those entries would be deleted too, and a service must keep its audit trail and last superuser.
    """
    with transaction.atomic():
        user = get_object_or_404(User.objects.select_for_update(), pk=user.pk)
        if user.is_staff or user.is_superuser or user.logentry_set.exists():
            raise StaffAccountError
        pk, at = user.pk, timezone.now().isoformat()
        emails.account_deleted.queue(to=user.email, at=at)
        user.delete()
    logger.info("account_deleted", user=pk)


def forgot_password(*, email: str) -> IssuedToken | None:
    """Queue the e-mail that resets the password if the address has an active account.

    Returns a token like the one in the e-mail, for tests. The API must not return it.
    """
    user = _get_recoverable_user(email)
    _queue_if_known(emails.reset_password, user)
    logger.info("password_forgotten", user=user and user.pk)
    return reset_password_token.issue(user) if user else None


@transaction.atomic
def reset_password(*, token: str, password: str) -> User:
    """Set a new password with a token from an e-mail, and end every session.

    The token proves access to the mailbox, so this confirms the address too. Raises
    ``InvalidTokenError``, and ``ValidationError`` if the password is weak: the token stays valid.
    """
    user = _lock_user(reset_password_token, token)
    check_password_strength(password, user)
    user.email_confirmed_at = user.email_confirmed_at or timezone.now()
    _set_password(user, password)
    return user


@transaction.atomic
def change_password(user: User, *, current_password: str, password: str) -> User:
    """Replace the password and end every session.

    Raises ``WrongPasswordError``, and ``ValidationError`` if the new password is weak.
    """
    user = get_object_or_404(User.objects.select_for_update(), pk=user.pk)
    if not user.check_password(current_password):
        logger.warning("password_change_failed", user=user.pk)
        raise WrongPasswordError
    check_password_strength(password, user)
    _set_password(user, password)
    return user


def update_profile(
    user: User, *, email: str | None = None, current_password: str = "", **profile: Any
) -> User:
    """Change a user's own data. A new e-mail address stays pending until it is confirmed.

    Only a new address requires the current password. Raises ``CurrentPasswordRequiredError``,
    ``WrongPasswordError``; ``EmailTakenError`` after notifying the address's owner.
    """
    changes = dict(profile)
    if email is not None:
        email = normalise_email(email)
        changes["pending_email"] = _validated_new_email(user, email, current_password)
    with transaction.atomic():
        # Looked up by stamp, so a concurrent end of all sessions takes precedence.
        locked = User.objects.select_for_update()
        user = get_object_or_404(locked, security_stamp=user.security_stamp)
        for field, value in changes.items():
            setattr(user, field, value)
        user.save(update_fields=list(changes))
        if changes.get("pending_email"):
            _notify_email_change_requested(user)
    return user


def notify_password_changed(user: User) -> None:
    """Log that the password has changed, and notify the user."""
    emails.password_changed.queue(to=user.email, **_event_values(user))
    logger.info("password_changed", user=user.pk)


def notify_email_changed(user: User, *, old_email: str) -> None:
    """Log that the address has changed, and notify the old address."""
    emails.address_changed.queue(to=old_email, new_email=user.email, **_event_values(user))
    logger.info("email_changed", user=user.pk)


def include_last_superuser(users: Iterable[User]) -> bool:
    """Whether no superuser who can log in to the admin site would remain without these users."""
    superusers = User.objects.filter(is_active=True, is_staff=True, is_superuser=True)
    found = set(superusers.values_list("pk", flat=True))
    return bool(found) and found <= {user.pk for user in users}


def check_password_strength(password: str, user: User) -> None:
    """Raise ``ValidationError`` on ``password`` if a validator rejects it."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise ApiValidationError({"password": error.messages}) from error


def _lock_user(kind: OneTimeToken, token: str) -> User:
    user = (
        User.objects.select_for_update().filter(pk=kind.user_id(token) or 0, is_active=True).first()
    )
    if user is None or not kind.fits(token, user):
        raise InvalidTokenError
    return user


def _set_password(user: User, password: str) -> None:
    user.set_password(password)
    user.save(update_fields=["password", "email_confirmed_at"])
    notify_password_changed(user)


def _end_sessions(user: User, *changed: str) -> None:
    user.end_sessions()
    user.save(update_fields=[*changed, "security_stamp", "pending_email"])


def _record_use(session: Session, device: Device) -> None:
    """Record a login or refresh. The session ends when the token issued for it expires."""
    session.last_used_at = timezone.now()
    session.expires_at = min(
        session.last_used_at + jwt_settings.ACCESS_TOKEN_LIFETIME,
        session.created_at + settings.API_SESSION_LIFETIME,
    )
    session.address, session.user_agent = device


def _validated_new_email(user: User, email: str, current_password: str) -> str | None:
    if email == user.email:
        return None
    if not current_password:
        raise CurrentPasswordRequiredError
    if not user.check_password(current_password):
        logger.warning("email_change_refused", user=user.pk)
        raise WrongPasswordError
    _reject_taken_email(email)
    return email


def _notify_email_change_requested(user: User) -> None:
    """Send the new address a link that confirms the change, and the old one a link that cancels it."""
    new_email = str(user.pending_email)
    # First: it is not sent any more once someone has confirmed the change.
    emails.new_email_requested.queue(to=user.email, new_email=new_email, **_event_values(user))
    emails.confirm_new_email.queue(to=new_email, user_id=user.pk, new_email=new_email)
    logger.info("email_change_requested", user=user.pk)


def _reject_taken_email(email: str) -> None:
    owner = User.objects.filter(email=email).first()
    if owner:
        emails.account_exists.queue(to=owner.email, user_id=owner.pk)
        raise EmailTakenError


def _get_recoverable_user(email: str) -> User | None:
    """Return the active account of an address, unless an administrator disabled its password."""
    user = User.objects.filter(email=email, is_active=True).first()
    return user if user and user.has_usable_password() else None


def _queue_if_known(kind: QueueableEmail, user: User | None) -> None:
    """Queue an e-mail to the user, or one without a recipient if there is no user.

    The request does the same work for known and unknown addresses, and stores only known ones.
    """
    user_id, email = (user.pk, user.email) if user else (0, "")
    kind.queue(to=email, user_id=user_id, email=email)


def _event_values(user: User) -> dict[str, Any]:
    return {"user_id": user.pk, "at": timezone.now().isoformat()}
