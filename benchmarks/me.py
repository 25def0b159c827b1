"""CPU of ``GET /api/v1/users/me/`` beside a bare DRF view that reads the same JWT.

Run inside a generated service, by ``nox -s bench``. Both views answer the same client in one
process, in turns, so that a noisy machine disturbs both alike.
"""

import json
import os
import statistics
import sys
import time

import django
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.dev")
os.environ["DJANGO_LOG_LEVEL"] = "ERROR"
os.environ["DJANGO_DEBUG"] = "false"
django.setup()

from django.test.utils import get_runner  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.test import APIClient  # noqa: E402
from rest_framework.views import APIView  # noqa: E402
from rest_framework_simplejwt.authentication import JWTAuthentication  # noqa: E402

ROUNDS, CALLS = 30, 50


class BareView(APIView):
    authentication_classes = [JWTAuthentication]
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        return Response({"id": request.user.pk})


urlpatterns = [path("bare/", BareView.as_view()), path("", include("api_core.urls"))]


def cpu_per_call(client: APIClient, url: str) -> float:
    """Milliseconds of CPU of this process for one call."""
    start = time.process_time()
    for _number in range(CALLS):
        assert client.get(url).status_code == 200
    return (time.process_time() - start) / CALLS * 1000


def measure() -> dict[str, float]:
    from apps.user.models import User
    from apps.user.tokens import issue_jwt

    user = User.objects.create_superuser("bench@example.com", "a password for the bench")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {issue_jwt(user).token}")
    urls = {"bare": "/bare/", "me": "/api/v1/users/me/"}
    times: dict[str, list[float]] = {name: [] for name in urls}
    for _number in range(ROUNDS):
        for name, url in urls.items():
            times[name].append(cpu_per_call(client, url))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    settings.ROOT_URLCONF = __name__
    runner = get_runner(settings)(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    try:
        json.dump(measure(), sys.stdout)
    finally:
        runner.teardown_databases(databases)


if __name__ == "__main__":
    main()
