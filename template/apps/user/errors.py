from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied, ValidationError


class WrongCredentialsError(AuthenticationFailed):
    """The same for an unknown account, a wrong password and an inactive account."""

    default_detail = _("Wrong e-mail address or password.")
    default_code = "wrong_credentials"


class EmailNotConfirmedError(PermissionDenied):
    default_detail = _("Confirm your e-mail address first: we have sent you a link.")
    default_code = "email_not_confirmed"


class InvalidTokenError(ValidationError):
    def __init__(self) -> None:
        super().__init__({"token": [_("This link is not valid, or no longer.")]}, "invalid_token")


class EmailTakenError(ValidationError):
    def __init__(self) -> None:
        message = _("There is already an account with this e-mail address.")
        super().__init__({"email": [message]}, "unique")


class WrongPasswordError(ValidationError):
    def __init__(self) -> None:
        super().__init__({"current_password": [_("This is not your password.")]}, "wrong_password")
