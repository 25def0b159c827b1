"""Health checks for load balancers and orchestrators."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView
from structlog import get_logger

logger = get_logger(__name__)

LIVENESS_PATH = "/api/v1/health/"

# With ``warning`` the service stays ready.
type State = Literal["ok", "warning", "unavailable"]

READINESS = inline_serializer(
    "Readiness",
    {
        "status": serializers.ChoiceField(["ok", "unavailable"]),
        "checks": serializers.DictField(
            child=serializers.ChoiceField(["ok", "warning", "unavailable"])
        ),
    },
)


def check_database(alias: str = DEFAULT_DB_ALIAS) -> State:
    """Run a query, and log the error if it fails."""
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("database_unavailable", error=error)
        return "unavailable"
    return "ok"


def run_checks() -> dict[str, State]:
    """Return the results of ``settings.READINESS_CHECKS`` up to the first "unavailable".

    The other checks may wait for the same database.
    """
    if settings.DRAIN_FILE and Path(settings.DRAIN_FILE).exists():
        return {"stopping": "unavailable"}
    results: dict[str, State] = {}
    for name, path in settings.READINESS_CHECKS.items():
        check: Callable[[], State] = import_string(path)
        results[name] = check()
        if results[name] == "unavailable":
            break
    return results


class LivenessMiddleware:
    """Respond to liveness probes before the middleware that they do not need.

    ``HealthView`` describes them in the OpenAPI schema, and responds to other methods.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info == LIVENESS_PATH and request.method == "GET":
            request.get_host()  # raises if it is not allowed
            content = b'{"status":"ok"}'
            length = {"Content-Length": str(len(content))}
            return HttpResponse(content, content_type="application/json", headers=length)
        return self.get_response(request)


class HealthView(APIView):
    """Liveness: the process responds. Dependencies are not checked, since a restart does not fix them."""

    authentication_classes: list[type[BaseAuthentication]] = []
    permission_classes = [AllowAny]
    throttle_classes: list[type[BaseThrottle]] = []

    @extend_schema(
        summary="Liveness",
        responses=inline_serializer("Health", {"status": serializers.ChoiceField(["ok"])}),
    )
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class ReadinessView(APIView):
    """Readiness: 503 if a dependency is unavailable or the server is stopping."""

    authentication_classes: list[type[BaseAuthentication]] = []
    permission_classes = [AllowAny]
    throttle_classes: list[type[BaseThrottle]] = []

    @extend_schema(
        summary="Readiness",
        responses={status.HTTP_200_OK: READINESS, status.HTTP_503_SERVICE_UNAVAILABLE: READINESS},
    )
    def get(self, request: Request) -> Response:
        checks = run_checks()
        ready = "unavailable" not in checks.values()
        return Response(
            {"status": "ok" if ready else "unavailable", "checks": checks},
            status=status.HTTP_200_OK if ready else status.HTTP_503_SERVICE_UNAVAILABLE,
        )
