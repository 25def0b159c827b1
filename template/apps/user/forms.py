"""The forms of the admin site, with the limits, events and notices of the API."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib.admin import forms as admin_forms
from django.contrib.auth import forms as auth_forms
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _
from rest_framework.request import Request
from structlog import get_logger

from apps.user import services
from apps.user.api.auth import AuthView, ChangePasswordView, LoginView
from apps.user.errors import EmailNotConfirmedError
from apps.user.models import User, superusers

logger = get_logger(__name__)


class AdminLoginForm(admin_forms.AdminAuthenticationForm):
    def clean(self) -> dict[str, Any]:
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password:
            # As the database will look for it, whatever was typed.
            account = User._meta.get_field("email").get_prep_value(email)
            _count_attempt(LoginView(), self.request.META if self.request else {}, email=account)
        try:
            return super().clean()
        except ValidationError as error:
            if error.code != EmailNotConfirmedError.default_code:
                logger.warning("login_failed")
            raise

    def confirm_login_allowed(self, user: AbstractBaseUser) -> None:
        super().confirm_login_allowed(user)
        if (
            settings.REQUIRE_CONFIRMED_EMAIL
            and isinstance(user, User)
            and user.email_confirmed_at is None
        ):
            logger.warning("login_before_confirmation", user=user.pk)
            raise ValidationError(
                EmailNotConfirmedError.default_detail, code=EmailNotConfirmedError.default_code
            )


class _ReportedPasswordMixin:
    """Reports a new password to the log and to the owner."""

    def set_password_and_save(self, user: User, *args: Any, **kwargs: Any) -> User:
        with transaction.atomic():
            user = super().set_password_and_save(user, *args, **kwargs)  # type: ignore[misc]
            services.report_new_password(user)
        return user


class OwnPasswordForm(_ReportedPasswordMixin, admin_forms.AdminPasswordChangeForm):  # type: ignore[misc]
    """The password of the administrator who is logged in."""

    def clean_old_password(self) -> str:
        _count_attempt(ChangePasswordView(), {}, user=cast("User", self.user))
        try:
            return super().clean_old_password()
        except ValidationError:
            logger.warning("password_change_failed", user=self.user.pk)
            raise


class SetPasswordForm(_ReportedPasswordMixin, auth_forms.AdminPasswordChangeForm):  # type: ignore[misc]
    """The password of another user."""


class UserForm(auth_forms.UserChangeForm[User]):
    def clean(self) -> dict[str, Any]:
        """Keep the last superuser, who could not be brought back in the admin site."""
        data = super().clean() or {}
        access = [data.get(field, True) for field in ("is_active", "is_staff", "is_superuser")]
        if not all(access) and not superusers().exclude(pk=self.instance.pk).exists():
            raise ValidationError(_("The last superuser must stay active."), code="last_superuser")
        return data


def _count_attempt(
    view: AuthView,
    meta: Mapping[str, Any],
    *,
    user: User | AnonymousUser | None = None,
    email: str = "",
) -> None:
    """Count an attempt together with those of an API view. Raises ``ValidationError`` at a limit."""
    attempt = SimpleNamespace(META=meta, user=user or AnonymousUser(), data={"email": email})
    for throttle in view.get_throttles():
        if not throttle.allow_request(cast("Request", attempt), view):
            raise ValidationError(
                _("Too many attempts. Please try again later."), code="throttled"
            )
