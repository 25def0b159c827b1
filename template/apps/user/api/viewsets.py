"""``/api/v1/users/``: the user's own row, and nobody else's."""

from django.db.models import QuerySet
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication

from apps.api.throttling import AccountThrottle
from apps.user.api.auth import AuthenticatedRequest, authenticated
from apps.user.api.serializers import AuthenticatedSerializer, UserSerializer
from apps.user.models import User
from apps.user.tokens import IssuedToken, seconds_left


class NewAddressThrottle(AccountThrottle):
    """Count a user's changes of the address alone: each sends an e-mail to whatever is written."""

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        email = request.data.get("email") if isinstance(request.data, dict) else None
        if not isinstance(email, str) or email.strip().lower() == request.user.get_username():
            return None
        return super().get_cache_key(request, view)


@extend_schema_view(
    list=extend_schema(summary="List the user"),
    retrieve=extend_schema(summary="Read the user"),
    update=extend_schema(summary="Replace the user's data"),
    partial_update=extend_schema(summary="Change some of the user's data"),
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
    throttle_classes = [NewAddressThrottle]
    throttle_scope = "mail"
    queryset = User.objects.none()
    serializer_class = UserSerializer
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[User]:
        own = User.objects.filter(pk=self.request.user.pk)
        return own.prefetch_related("groups", "user_permissions")

    @extend_schema(summary="Read the user and the token", responses=AuthenticatedSerializer)
    @action(detail=False)
    def me(self, request: AuthenticatedRequest) -> Response:
        """The user of the token, the token itself, and the seconds that it still has."""
        jwt = request.auth
        return Response(authenticated(request.user, IssuedToken(str(jwt), seconds_left(jwt))))
