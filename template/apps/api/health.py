"""What load balancers and orchestrators ask: is the process alive, can it do its work."""

from django.db import DatabaseError, connection
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog import get_logger

logger = get_logger(__name__)

READINESS = inline_serializer(
    "Readiness",
    {
        "status": serializers.ChoiceField(["ok", "unavailable"]),
        "checks": serializers.DictField(child=serializers.ChoiceField(["ok", "unavailable"])),
    },
)


def database_answers() -> bool:
    """Say whether a query reaches the database; the reason of a failure goes to the log."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("database_unavailable", error=str(error))
        return False
    return True


class HealthView(APIView):
    """The process answers. It asks nothing else: a dead database is no reason to restart it."""

    authentication_classes: list[type[BaseAuthentication]] = []

    @extend_schema(
        responses=inline_serializer("Health", {"status": serializers.ChoiceField(["ok"])}),
        auth=[],
    )
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class ReadinessView(APIView):
    """The process and all that it depends on answer; 503 where one does not."""

    authentication_classes: list[type[BaseAuthentication]] = []

    @extend_schema(
        responses={status.HTTP_200_OK: READINESS, status.HTTP_503_SERVICE_UNAVAILABLE: READINESS},
        auth=[],
    )
    def get(self, request: Request) -> Response:
        answers = {"database": database_answers()}
        ready = all(answers.values())
        return Response(
            {
                "status": "ok" if ready else "unavailable",
                "checks": {name: "ok" if ok else "unavailable" for name, ok in answers.items()},
            },
            status=status.HTTP_200_OK if ready else status.HTTP_503_SERVICE_UNAVAILABLE,
        )
