from django.utils.translation import gettext_lazy as _
from rest_framework import status
from rest_framework.exceptions import (
    APIException,
    AuthenticationFailed,
    PermissionDenied,
    ValidationError,
)
from rest_framework_simplejwt.exceptions import AuthenticationFailed as TokenAuthenticationFailed


class WrongCredentialsError(AuthenticationFailed):
    """The same response for an unknown account, a wrong password and an inactive account."""

    default_detail = _("Wrong e-mail address or password.")
    default_code = "wrong_credentials"


class EmailNotConfirmedError(PermissionDenied):
    default_detail = _("Confirm your e-mail address first: we have sent you a link.")
    default_code = "email_not_confirmed"


class SessionEndedError(TokenAuthenticationFailed):
    """The response to a JWT whose session has ended."""

    def __init__(self) -> None:
        super().__init__(code="user_not_found")


class InvalidTokenError(ValidationError):
    def __init__(self) -> None:
        super().__init__({"token": [_("This link is invalid or has expired.")]}, "invalid_token")


class EmailTakenError(ValidationError):
    def __init__(self) -> None:
        message = _("There is already an account with this e-mail address.")
        super().__init__({"email": [message]}, "unique")


class CurrentPasswordRequiredError(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("The current password is required to change the e-mail address.")
    default_code = "current_password_required"


class WrongPasswordError(APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = _("The current password is wrong.")
    default_code = "wrong_password"


class StaffAccountError(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = _("Staff accounts cannot be deleted here. Ask another administrator.")
    default_code = "staff_account"
