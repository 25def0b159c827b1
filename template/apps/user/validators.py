import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def validate_not_in_the_future(value: datetime.date) -> None:
    if value > timezone.localdate():
        raise ValidationError(_("This date is in the future."), code="future_date")


# OWASP ASVS 5.0: 6.2.9 asks for at least 64.
MAX_PASSWORD_LENGTH = 128


class PasswordBoundsValidator:
    """Reject passwords that are too long for the API, or consist only of spaces."""

    def validate(self, password: str, user: Any = None) -> None:
        if len(password) > MAX_PASSWORD_LENGTH:
            raise ValidationError(
                _("This password is too long. It must contain at most %(max_length)d characters."),
                code="password_too_long",
                params={"max_length": MAX_PASSWORD_LENGTH},
            )
        if not password.strip():
            raise ValidationError(
                _("This password consists only of spaces."), code="password_only_spaces"
            )

    def get_help_text(self) -> str:
        return str(
            _("Your password must contain at most %(max_length)d characters, not only spaces.")
            % {"max_length": MAX_PASSWORD_LENGTH}
        )
