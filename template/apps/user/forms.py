"""Forms of the admin site, with the rate limits, log events and notices of the API."""

from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib.admin import forms as admin_forms
from django.contrib.auth import forms as auth_forms
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from django.utils.text import format_lazy
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework.request import Request
from structlog import get_logger

from apps.user import services
from apps.user.api.auth import AuthView, ChangePasswordView, LoginView
from apps.user.errors import EmailNotConfirmedError
from apps.user.models import User

logger = get_logger(__name__)

_EMAIL = User._meta.get_field("email")  # noqa: SLF001 - Django's documented API


class AdminLoginForm(admin_forms.AdminAuthenticationForm):
    def clean(self) -> dict[str, Any]:
        email, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if email and password:
            # The normalised spelling, which the database query uses too.
            account = _EMAIL.get_prep_value(email)
            _count_attempt(LoginView(), self.request, email=account)
        try:
            return super().clean()
        except ValidationError as error:
            if error.code != EmailNotConfirmedError.default_code:
                logger.warning("login_failed")
            raise

    def confirm_login_allowed(self, user: User) -> None:
        super().confirm_login_allowed(user)
        if settings.REQUIRE_CONFIRMED_EMAIL and user.email_confirmed_at is None:
            logger.warning("login_before_confirmation", user=user.pk)
            raise ValidationError(
                EmailNotConfirmedError.default_detail, code=EmailNotConfirmedError.default_code
            )


class _NotifyPasswordChangedMixin:
    """Log a new password and notify the user."""

    def set_password_and_save(self, user: User, *args: Any, **kwargs: Any) -> User:
        with transaction.atomic():
            user = super().set_password_and_save(user, *args, **kwargs)  # type: ignore[misc]
            services.notify_password_changed(user)
        return user


class OwnPasswordForm(_NotifyPasswordChangedMixin, admin_forms.AdminPasswordChangeForm):
    """Change the password of the administrator who is logged in."""

    def clean_old_password(self) -> str:
        # Django passes no request to this form, so all networks count as one.
        _count_attempt(ChangePasswordView(), None, user=self.user)
        try:
            return super().clean_old_password()
        except ValidationError:
            logger.warning("password_change_failed", user=self.user.pk)
            raise


class SetPasswordForm(_NotifyPasswordChangedMixin, auth_forms.AdminPasswordChangeForm[User]):
    """Set the password of any user."""

    # Django does not translate the warning. Its script shows and hides the element.
    usable_password_help_text = format_lazy(  # type: ignore[assignment] # the stub says str
        '{}<ul id="id_unusable_warning" class="messagelist"><li class="warning">{}</li></ul>',
        auth_forms.SetUnusablePasswordMixin.usable_password_help_text,
        gettext_lazy("If disabled, the current password for this user will be lost."),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("set_usable_password") and services.include_last_superuser([self.user]):
            # Django's template for this form shows only field errors.
            self.add_error("usable_password", _last_superuser_error())
        return data


class UserForm(auth_forms.UserChangeForm[User]):
    def clean(self) -> dict[str, Any]:
        """Keep the last superuser: no one could restore that access in the admin site."""
        data = super().clean() or {}
        access = [data.get(field, True) for field in ("is_active", "is_staff", "is_superuser")]
        if not all(access) and services.include_last_superuser([self.instance]):
            raise _last_superuser_error()
        return data


def _last_superuser_error() -> ValidationError:
    return ValidationError(_("The last superuser must stay active."), code="last_superuser")


def _count_attempt(
    view: AuthView, request: HttpRequest | None, *, user: User | None = None, email: str = ""
) -> None:
    """Count an attempt with those of an API view. Raises ``ValidationError`` at the limit."""
    request = request or HttpRequest()
    attempt = SimpleNamespace(
        META=request.META,
        headers=request.headers,
        user=user or AnonymousUser(),
        data={"email": email},
    )
    for throttle in view.get_throttles():
        if not throttle.allow_request(cast("Request", attempt), view):
            raise ValidationError(_("Too many attempts. Please try again later."), code="throttled")
