"""The view sets of users and sessions, where users see only their own."""

from typing import Any

from django.db.models import QuerySet
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.authentication import get_authorization_header
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication

from apps.user import services
from apps.user.api.auth import AuthenticatedRequest, ChangePasswordView, token_response
from apps.user.api.serializers import AuthenticatedSerializer, SessionSerializer, UserSerializer
from apps.user.models import Session, User
from apps.user.tokens import IssuedToken, seconds_left
from common.drf.throttling import AccountThrottle
from common.email_addresses import normalise_email


class NewAddressThrottle(AccountThrottle):
    """Limit only changes of the address: each sends an e-mail to the address in the request."""

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        if request.method not in {"PUT", "PATCH"}:
            return None
        email: Any = request.data.get("email") if isinstance(request.data, dict) else None
        try:
            unchanged = normalise_email(email) == request.user.get_username()
        except (TypeError, ValueError, AttributeError):
            return None  # rejected by the serializer
        return None if unchanged else super().get_cache_key(request, view)


class CurrentPasswordThrottle(NewAddressThrottle):
    """Count changes of the address as attempts at the password, with those of change_password."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        return super().allow_request(request, ChangePasswordView())


@extend_schema_view(
    list=extend_schema(summary="List the user"),
    retrieve=extend_schema(summary="Retrieve the user"),
    update=extend_schema(summary="Replace the user's data"),
    partial_update=extend_schema(summary="Update the user's data"),
    destroy=extend_schema(summary="Delete the user"),
)
@method_decorator(never_cache, name="dispatch")
class UserViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[User],
):
    request: AuthenticatedRequest
    authentication_classes = [JWTAuthentication]
    permission_classes = [IsAuthenticated]
    throttle_classes = [CurrentPasswordThrottle, NewAddressThrottle]
    throttle_scope = "mail"
    queryset = User.objects.none()
    serializer_class = UserSerializer
    pagination_class = None
    filter_backends = []
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[User]:
        own = User.objects.filter(pk=self.request.user.pk)
        return own.prefetch_related("groups", "user_permissions")

    def perform_destroy(self, instance: User) -> None:
        services.delete_account(instance)

    @extend_schema(summary="Retrieve the user and the token", responses=AuthenticatedSerializer)
    @action(detail=False)
    def me(self, request: AuthenticatedRequest) -> Response:
        """The user of the token, the token itself, and the seconds until it expires."""
        _bearer, token = get_authorization_header(request).split()
        issued = IssuedToken(token.decode(), seconds_left(request.auth))
        return token_response(request.user, issued)


@extend_schema_view(
    list=extend_schema(
        summary="List the sessions of the user", description="The last used one first."
    ),
    destroy=extend_schema(summary="End a session of the user"),
)
@method_decorator(never_cache, name="dispatch")
class SessionViewSet(
    mixins.ListModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet[Session]
):
    """The sessions of the user, one for each login."""

    request: AuthenticatedRequest
    authentication_classes = [JWTAuthentication]
    permission_classes = [IsAuthenticated]
    pagination_class = None  # at most API_SESSIONS_PER_USER
    filter_backends = []
    queryset = Session.objects.none()
    serializer_class = SessionSerializer
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[Session]:
        return self.request.user.sessions.live()

    def perform_destroy(self, instance: Session) -> None:
        services.end_session(self.request.user, instance.pk)
