"""``/api/v1/auth/``: the way in and out.

Views that take no token look at no credentials at all, so that a stale or broken header cannot
lock anyone out. No answer is stored by caches (RFC 9111; OWASP ASVS 5.0: 14.2.1, 14.3.2).
"""

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
from common.drf.throttling import AccountThrottle, AddressThrottle


class AuthenticatedRequest(Request):
    """A request that came with a JWT, as views behind ``IsAuthenticated`` get it."""

    user: User
    auth: AccessToken


def authenticated(user: User, issued: IssuedToken) -> dict[str, Any]:
    """Return the body that answers with a user and a token."""
    return dict(AuthenticatedSerializer({"user": user, **issued._asdict()}).data)


@method_decorator(never_cache, name="dispatch")
class AuthView(APIView):
    """A view that takes no credentials, and counts the tries of each address and account."""

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

    @extend_schema(
        summary="Log in", request=LoginSerializer, responses=AuthenticatedSerializer, auth=[]
    )
    def post(self, request: Request) -> Response:
        user = services.login(**self.read(LoginSerializer))
        return Response(authenticated(user, issue_jwt(user)))


class RegisterView(AuthView):
    """In production ``token`` is empty; the token is only sent by e-mail."""

    throttle_scope = "register"

    @extend_schema(
        summary="Register",
        request=RegisterSerializer,
        responses={201: AuthenticatedSerializer},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        user, issued = services.register(**self.read(RegisterSerializer))
        if not settings.REGISTER_RETURNS_CONFIRM_TOKEN:
            issued = issued._replace(token="")
        return Response(authenticated(user, issued), status=status.HTTP_201_CREATED)


class ConfirmEmailView(AuthView):
    throttle_scope = "token"
    throttle_classes = [AddressThrottle]

    @extend_schema(
        summary="Confirm an e-mail address",
        request=TokenSerializer,
        responses=AuthenticatedSerializer,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        user = services.confirm_email(**self.read(TokenSerializer))
        return Response(authenticated(user, issue_jwt(user)))


class ConfirmNewEmailView(AuthView):
    """Replaces the address and ends every session. The response contains no data of the user."""

    throttle_scope = "token"
    throttle_classes = [AddressThrottle]

    @extend_schema(
        summary="Confirm a new e-mail address",
        request=TokenSerializer,
        responses=MessageSerializer,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        services.confirm_new_email(**self.read(TokenSerializer))
        return Response({"message": _("Your e-mail address has been changed. Log in again.")})


class CancelNewEmailView(AuthView):
    """Drops a change of the address that waits and ends every session."""

    throttle_scope = "token"
    throttle_classes = [AddressThrottle]

    @extend_schema(
        summary="Cancel a change of the e-mail address",
        request=TokenSerializer,
        responses=MessageSerializer,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        services.cancel_new_email(**self.read(TokenSerializer))
        return Response({"message": _("The change has been cancelled. Choose a new password.")})


class ResendConfirmationView(AuthView):
    """Responds in the same way for every address, whether it has an account or not."""

    throttle_scope = "mail"

    @extend_schema(
        summary="Send the confirmation e-mail again",
        request=EmailSerializer,
        responses=MessageSerializer,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        services.resend_confirmation(**self.read(EmailSerializer))
        return Response({"message": _("Email sent successfully")})


class ForgotPasswordView(AuthView):
    """Responds in the same way for every address, whether it has an account or not."""

    throttle_scope = "mail"

    @extend_schema(
        summary="Ask for a new password",
        request=EmailSerializer,
        responses=MessageSerializer,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        services.forgot_password(**self.read(EmailSerializer))
        return Response({"message": _("Email sent successfully")})


class ResetPasswordView(AuthView):
    throttle_scope = "token"
    throttle_classes = [AddressThrottle]

    @extend_schema(
        summary="Set a new password with a token",
        request=ResetPasswordSerializer,
        responses=AuthenticatedSerializer,
        auth=[],
    )
    def post(self, request: Request) -> Response:
        user = services.reset_password(**self.read(ResetPasswordSerializer))
        return Response(authenticated(user, issue_jwt(user)))


class ChangePasswordView(AuthView):
    """Ends every older token; the answer holds a new one."""

    authentication_classes = [JWTAuthentication]
    permission_classes = [IsAuthenticated]
    throttle_scope = "password"
    throttle_classes = [AccountThrottle]

    @extend_schema(
        summary="Change the password",
        request=ChangePasswordSerializer,
        responses=AuthenticatedSerializer,
    )
    def post(self, request: AuthenticatedRequest) -> Response:
        user = services.change_password(request.user, **self.read(ChangePasswordSerializer))
        return Response(authenticated(user, issue_jwt(user)))


class LogoutView(AuthView):
    """Ends every token and admin session of the user, on every device."""

    authentication_classes = [JWTAuthentication]
    permission_classes = [IsAuthenticated]
    throttle_classes = []

    @extend_schema(summary="Log out", request=None, responses={204: None})
    def post(self, request: AuthenticatedRequest) -> Response:
        services.logout(request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)
