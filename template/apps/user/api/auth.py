"""The views of ``/api/v1/auth/``: login, registration, passwords, confirmations and logout.

Views that need no JWT ignore the Authorization header, so that a stale or malformed one cannot lock
anyone out. Responses are never cached (RFC 9111; OWASP ASVS 5.0: 14.2.1, 14.3.2).
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.tokens import AccessToken

from apps.user import services
from apps.user.api.serializers import (
    AuthenticatedSerializer,
    ChangePasswordSerializer,
    EmailSerializer,
    LoginSerializer,
    MessageSerializer,
    RegisterSerializer,
    ResetPasswordSerializer,
    TokenSerializer,
)
from apps.user.models import User
from apps.user.tokens import IssuedToken, issue_jwt
from common.drf.throttling import AccountThrottle, AddressThrottle, client_address

type _View = Callable[..., Response]

# Shared by all requests: a serializer builds its fields when they are first used, which costs more
# than everything else in a response.
_authenticated = AuthenticatedSerializer()


class AuthenticatedRequest(Request):
    """A request that was authenticated with a JWT."""

    user: User
    auth: AccessToken


def token_response(user: User, issued: IssuedToken, status_code: int = 200) -> Response:
    """Return a response with the user and a token."""
    data = _authenticated.to_representation({"user": user, **issued._asdict()})
    return Response(data, status=status_code)


def session_response(request: Request, user: User) -> Response:
    """Start a session and return a response with the user and a JWT."""
    return token_response(user, issue_jwt(services.start_session(user, device(request))))


def device(request: Request) -> services.Device:
    # Some databases cannot store a NUL.
    user_agent = request.headers.get("User-Agent", "").replace("\0", "")
    return services.Device(client_address(request), user_agent[:255])


def describe(
    summary: str,
    request: type[BaseSerializer[Any]],
    response: type[BaseSerializer[Any]] = AuthenticatedSerializer,
    status_code: int = 200,
) -> Callable[[_View], _View]:
    """Describe a view that needs no JWT in the OpenAPI schema."""
    return extend_schema(summary=summary, request=request, responses={status_code: response})


@method_decorator(never_cache, name="dispatch")
class AuthView(APIView):
    """A view that needs no JWT and limits attempts per client address and per account."""

    authentication_classes: list[type[BaseAuthentication]] = []
    permission_classes = [AllowAny]
    throttle_classes = [AddressThrottle, AccountThrottle]

    def get_authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'

    def read(self, serializer_class: type[BaseSerializer[Any]]) -> dict[str, Any]:
        """Return the request's validated body."""
        serializer = serializer_class(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class LoginView(AuthView):
    throttle_scope = "login"

    @describe("Log in", LoginSerializer)
    def post(self, request: Request) -> Response:
        user = services.login(**self.read(LoginSerializer))
        return session_response(request, user)


class RegisterView(AuthView):
    """In production ``token`` is empty; the token is only sent by e-mail."""

    throttle_scope = "register"

    @describe("Register", RegisterSerializer, status_code=201)
    def post(self, request: Request) -> Response:
        user, issued = services.register(**self.read(RegisterSerializer))
        if not settings.REGISTER_RETURNS_CONFIRM_TOKEN:
            issued = issued._replace(token="")
        return token_response(user, issued, status.HTTP_201_CREATED)


class TokenView(AuthView):
    """A view that takes a one-time token, which names the account."""

    throttle_scope = "token"
    throttle_classes = [AddressThrottle]


class ConfirmEmailView(TokenView):
    """Confirms the address of a registration, and logs the user in."""

    @describe("Confirm an e-mail address", TokenSerializer)
    def post(self, request: Request) -> Response:
        user = services.confirm_email(**self.read(TokenSerializer))
        return session_response(request, user)


class ConfirmNewEmailView(TokenView):
    """Replaces the address and ends every session. The response contains no user data."""

    @describe("Confirm a new e-mail address", TokenSerializer, MessageSerializer)
    def post(self, request: Request) -> Response:
        services.confirm_new_email(**self.read(TokenSerializer))
        return Response({"message": _("Your e-mail address has been changed. Log in again.")})


class CancelNewEmailView(TokenView):
    """Cancels a pending change of the address and ends every session."""

    @describe("Cancel a change of the e-mail address", TokenSerializer, MessageSerializer)
    def post(self, request: Request) -> Response:
        services.cancel_new_email(**self.read(TokenSerializer))
        return Response({"message": _("The change has been cancelled. Choose a new password.")})


class ResetPasswordView(TokenView):
    """Sets a new password, ends every session and logs the user in."""

    @describe("Set a new password with a token", ResetPasswordSerializer)
    def post(self, request: Request) -> Response:
        user = services.reset_password(**self.read(ResetPasswordSerializer))
        return session_response(request, user)


class ResendConfirmationView(AuthView):
    """The response is the same whether or not the address has an account."""

    throttle_scope = "mail"

    @describe("Send the confirmation e-mail again", EmailSerializer, MessageSerializer)
    def post(self, request: Request) -> Response:
        services.resend_confirmation(**self.read(EmailSerializer))
        return Response({"message": _("Email sent successfully")})


class ForgotPasswordView(AuthView):
    """The response is the same whether or not the address has an account."""

    throttle_scope = "mail"

    @describe("Request a password reset", EmailSerializer, MessageSerializer)
    def post(self, request: Request) -> Response:
        services.forgot_password(**self.read(EmailSerializer))
        return Response({"message": _("Email sent successfully")})


class AuthenticatedView(AuthView):
    """A view that needs a JWT."""

    authentication_classes = [JWTAuthentication]
    permission_classes = [IsAuthenticated]
    throttle_classes = []


class ChangePasswordView(AuthenticatedView):
    """Ends every session. The response contains the token of a new one."""

    throttle_scope = "password"
    throttle_classes = [AccountThrottle]

    @extend_schema(
        summary="Change the password",
        request=ChangePasswordSerializer,
        responses=AuthenticatedSerializer,
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        user = services.change_password(request.user, **self.read(ChangePasswordSerializer))
        return session_response(request, user)


class RefreshView(AuthenticatedView):
    """Exchanges a valid token for a newer one, up to the maximum age of the session."""

    @extend_schema(summary="Refresh the token", request=None, responses=AuthenticatedSerializer)
    def post(self, request: AuthenticatedRequest) -> Response:
        session = services.refresh_session(request.user, request.auth["sub"], device(request))
        return token_response(request.user, issue_jwt(session))


class LogoutView(AuthenticatedView):
    """Ends the session of the token. Others continue."""

    @extend_schema(summary="Log out", request=None, responses={204: None})
    def post(self, request: AuthenticatedRequest) -> Response:
        services.end_session(request.user, request.auth["sub"])
        return Response(status=status.HTTP_204_NO_CONTENT)


class LogoutAllView(AuthenticatedView):
    """Ends every session of the user, also those of the admin site, and invalidates e-mailed links."""

    @extend_schema(summary="Log out everywhere", request=None, responses={204: None})
    def post(self, request: AuthenticatedRequest) -> Response:
        services.end_sessions(request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
