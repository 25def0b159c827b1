"""All that changes a user. Views call these; so may commands, tasks and tests.

Functions that take a one-time token lock the user's row while they check and use it, so that
two requests at once cannot both succeed.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from rest_framework.exceptions import ValidationError as ApiValidationError
from structlog import get_logger

from apps.communication.services import queue_email
from apps.user.errors import (
    EmailNotConfirmedError,
    EmailTakenError,
    InvalidTokenError,
    WrongCredentialsError,
    WrongPasswordError,
)
from apps.user.models import User
from apps.user.tokens import IssuedToken, OneTimeToken, confirm_email_token, reset_password_token

logger = get_logger(__name__)


def register(*, email: str, password: str, **profile: Any) -> tuple[User, IssuedToken]:
    """Store a new user and send the e-mail that confirms the address.

    Returns the user and the token that confirms the address. Raises ``EmailTakenError``, after
    telling the address's owner; ``ValidationError`` for a weak password.
    """
    check_password_strength(password, User(email=email, **profile))
    _refuse_taken(email)
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, **profile)
            _queue_confirmation(user)
    except IntegrityError as error:
        raise EmailTakenError from error
    logger.info("user_registered", user=user.pk)
    return user, confirm_email_token.issue(user)


def resend_confirmation(*, email: str) -> None:
    """Send the confirmation again, where the address belongs to an account that still needs it."""
    user = User.objects.filter(
        email=email, email_confirmed_at=None, pending_email=None, is_active=True
    ).first()
    if user:
        _queue_confirmation(user)


def confirm_email(*, token: str) -> User:
    """Confirm the address that the token was sent to, and make it the user's.

    Raises ``InvalidTokenError``; ``EmailTakenError`` where somebody else has registered it since.
    """
    try:
        with transaction.atomic():
            user = _lock_user(confirm_email_token, token)
            if user.pending_email:
                _tell_old_address(user)
                user.email, user.pending_email = user.pending_email, None
            user.email_confirmed_at = timezone.now()
            user.save(update_fields=["email", "pending_email", "email_confirmed_at"])
    except IntegrityError as error:
        raise EmailTakenError from error
    logger.info("email_confirmed", user=user.pk)
    return user


def login(*, email: str, password: str) -> User:
    """Return the user of these credentials.

    An unknown account takes as long as a wrong password. Raises ``WrongCredentialsError``, and
    ``EmailNotConfirmedError`` after a right password alone. OWASP ASVS 5.0: 6.3.8.
    """
    user = authenticate(None, email=email, password=password)
    if not isinstance(user, User):
        logger.warning("login_failed")
        raise WrongCredentialsError
    if settings.REQUIRE_CONFIRMED_EMAIL and user.email_confirmed_at is None:
        logger.warning("login_before_confirmation", user=user.pk)
        raise EmailNotConfirmedError
    update_last_login(User, user)
    logger.info("login", user=user.pk)
    return user


def logout(user: User) -> None:
    """End every JWT of the user."""
    user.end_sessions()
    user.save(update_fields=["session_id"])
    logger.info("logout", user=user.pk)


def forgot_password(*, email: str) -> IssuedToken | None:
    """Send the e-mail that resets the password, where the address has an active account.

    Returns a token like the one in the e-mail, for tests. It must not reach the API's client.
    """
    user = User.objects.filter(email=email, is_active=True).first()
    if user is None:
        return None
    queue_email("reset_password", to=user.email, context={"user_id": user.pk, "email": user.email})
    logger.info("password_forgotten", user=user.pk)
    return reset_password_token.issue(user)


@transaction.atomic
def reset_password(*, token: str, password: str) -> User:
    """Set a new password by the token of an e-mail, and end every older JWT.

    Who holds the token reads the mailbox: the address counts as confirmed. Raises
    ``InvalidTokenError``; ``ValidationError`` for a weak password, which leaves the token valid.
    """
    user = _lock_user(reset_password_token, token)
    check_password_strength(password, user)
    user.email_confirmed_at = user.email_confirmed_at or timezone.now()
    _set_password(user, password)
    return user


@transaction.atomic
def change_password(user: User, *, current_password: str, password: str) -> User:
    """Replace the password and end every older JWT. Raises ``WrongPasswordError``, ``ValidationError``."""
    user = get_object_or_404(User.objects.select_for_update(), pk=user.pk)
    if not user.check_password(current_password):
        raise WrongPasswordError
    check_password_strength(password, user)
    _set_password(user, password)
    return user


def update_profile(user: User, *, email: str | None = None, **profile: Any) -> User:
    """Store changes of a user's own data. A new e-mail address waits to be confirmed.

    Raises ``EmailTakenError``, after telling the address's owner.
    """
    for field, value in profile.items():
        setattr(user, field, value)
    changed = list(profile)
    if email is not None:
        user.pending_email = _new_address(user, email)
        changed.append("pending_email")
    with transaction.atomic():
        user.save(update_fields=changed)
        if email is not None and user.pending_email:
            _queue_confirmation(user)
    return user


def check_password_strength(password: str, user: User) -> None:
    """Raise ``ValidationError`` on ``password`` where a validator refuses it."""
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
    queue_email("password_changed", to=user.email, context=_happened_now(user))
    logger.info("password_changed", user=user.pk)


def _new_address(user: User, email: str) -> str | None:
    email = email.lower()
    if email == user.email:
        return None
    _refuse_taken(email)
    return email


def _refuse_taken(email: str) -> None:
    owner = User.objects.filter(email=email).first()
    if owner:
        queue_email("account_exists", to=owner.email, context={"user_id": owner.pk})
        raise EmailTakenError


def _queue_confirmation(user: User) -> None:
    address = user.pending_email or user.email
    queue_email("confirm_email", to=address, context={"user_id": user.pk, "email": address})


def _tell_old_address(user: User) -> None:
    context = {**_happened_now(user), "new_email": user.pending_email}
    queue_email("address_changed", to=user.email, context=context)


def _happened_now(user: User) -> dict[str, Any]:
    return {"user_id": user.pk, "at": timezone.now().isoformat()}
