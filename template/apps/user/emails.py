"""The e-mails of this app. Their texts are in ``templates/communication/email/``."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from apps.communication.emails import email_kind
from apps.communication.models import Email
from apps.user.models import User
from apps.user.tokens import (
    cancel_new_email_token,
    confirm_email_token,
    confirm_new_email_token,
    reset_password_token,
)

Values = dict[str, str]


def page_url(page: str, token: str = "") -> str:
    """Return the address of a page. The token comes after ``#``, which no server or proxy logs."""
    return f"{settings.URL_BASE}/{page}/" + (f"#token={token}" if token else "")


def local_time(moment: str) -> str:
    """Return an ISO 8601 date and time in the format of the active language."""
    return date_format(timezone.localtime(datetime.fromisoformat(moment)), "SHORT_DATETIME_FORMAT")


def masked(email: str) -> str:
    """Return an address that only its owner recognises: ``a***@example.com``."""
    name, _at, domain = email.partition("@")
    return f"{name[:1]}***@{domain}"


def active_user(user_id: int) -> User | None:
    return User.objects.filter(pk=user_id, is_active=True).first()


@email_kind(
    "confirm_email",
    label=_("Confirm the e-mail address"),
    placeholders={
        "first_name": "Ana",
        "confirm_url": "https://example.com/confirm_email/#token=sample",
        "hours": "24",
    },
    required={"confirm_url"},
)
def confirm_email(user_id: int, email: str) -> Values | None:
    user = active_user(user_id)
    if user is None or user.email != email or user.email_confirmed_at:
        return None
    token, expired_at = confirm_email_token.issue(user)
    return {
        "first_name": user.first_name,
        "confirm_url": page_url("confirm_email", token),
        "hours": str(expired_at // 3600),
    }


@email_kind(
    "confirm_new_email",
    label=_("Confirm a new e-mail address"),
    placeholders={
        "first_name": "Ana",
        "confirm_url": "https://example.com/confirm_new_email/#token=sample",
        "hours": "24",
    },
    required={"confirm_url"},
)
def confirm_new_email(user_id: int, new_email: str) -> Values | None:
    user = active_user(user_id)
    # The token confirms the current pending address, and must not be sent to an earlier one.
    if user is None or user.pending_email != new_email:
        return None
    token, expired_at = confirm_new_email_token.issue(user)
    return {
        "first_name": user.first_name,
        "confirm_url": page_url("confirm_new_email", token),
        "hours": str(expired_at // 3600),
    }


@email_kind(
    "new_email_requested",
    label=_("A new e-mail address was requested"),
    placeholders={
        "first_name": "Ana",
        "new_email": "b***@example.com",
        "requested_at": "31/01/2026 12:00",
        "cancel_url": "https://example.com/cancel_new_email/#token=sample",
        "hours": "24",
    },
    required={"cancel_url"},
)
def new_email_requested(user_id: int, new_email: str, at: str) -> Values | None:
    user = active_user(user_id)
    if user is None or user.pending_email != new_email:
        return None
    token, expired_at = cancel_new_email_token.issue(user)
    return {
        "first_name": user.first_name,
        "new_email": masked(new_email),
        "requested_at": local_time(at),
        "cancel_url": page_url("cancel_new_email", token),
        "hours": str(expired_at // 3600),
    }


@email_kind(
    "reset_password",
    label=_("Reset the password"),
    placeholders={
        "first_name": "Ana",
        "reset_url": "https://example.com/reset_password/#token=sample",
        "minutes": "60",
    },
    required={"reset_url"},
)
def reset_password(user_id: int, email: str) -> Values | None:
    user = active_user(user_id)
    if user is None or user.email != email or not user.has_usable_password():
        return None
    token, expired_at = reset_password_token.issue(user)
    return {
        "first_name": user.first_name,
        "reset_url": page_url("reset_password", token),
        "minutes": str(expired_at // 60),
    }


@email_kind(
    "password_changed",
    label=_("The password was changed"),
    placeholders={
        "first_name": "Ana",
        "changed_at": "31/01/2026 12:00",
        "reset_page_url": "https://example.com/forgot_password/",
    },
    required={"reset_page_url"},
)
def password_changed(user_id: int, at: str) -> Values | None:
    user = active_user(user_id)
    if user is None:
        return None
    return {
        "first_name": user.first_name,
        "changed_at": local_time(at),
        "reset_page_url": page_url("forgot_password"),
    }


@email_kind(
    "address_changed",
    label=_("The e-mail address was changed"),
    placeholders={
        "first_name": "Ana",
        "new_email": "b***@example.com",
        "changed_at": "31/01/2026 12:00",
    },
)
def address_changed(user_id: int, new_email: str, at: str) -> Values | None:
    user = active_user(user_id)
    if user is None:
        return None
    return {
        "first_name": user.first_name,
        "new_email": masked(new_email),
        "changed_at": local_time(at),
    }


@email_kind(
    "account_exists",
    label=_("Someone tried to register an address that already has an account"),
    placeholders={
        "first_name": "Ana",
        "reset_page_url": "https://example.com/forgot_password/",
    },
    required={"reset_page_url"},
)
def account_exists(user_id: int) -> Values | None:
    user = active_user(user_id)
    if user is None:
        return None
    return {"first_name": user.first_name, "reset_page_url": page_url("forgot_password")}


@email_kind(
    "account_deleted",
    label=_("The account was deleted"),
    placeholders={"deleted_at": "31/01/2026 12:00"},
    is_logged=False,
)
def account_deleted(at: str) -> Values:
    # Without the name, which was deleted with the account.
    return {"deleted_at": local_time(at)}


@receiver(post_delete, sender=User)
def delete_emails(sender: type[User], instance: User, **kwargs: Any) -> None:
    """Delete a deleted user's e-mails from the log, except the one about the deletion."""
    theirs = Email.objects.filter(Q(to=instance.email) | Q(context__user_id=instance.pk))
    theirs.exclude(kind=account_deleted.name).delete()
