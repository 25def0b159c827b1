"""CPU of ``GET /api/v1/users/me/`` beside a bare DRF view that reads the same JWT.

Runs inside a generated service, by ``nox -s bench``. Both views answer the same client in one
process, in turns, so that a noisy machine disturbs both alike.
"""

import os
import statistics
import sys
import time

os.environ |= {
    "DJANGO_SETTINGS_MODULE": "api_core.settings.dev",
    "DJANGO_LOG_LEVEL": "ERROR",
    "DJANGO_DEBUG": "false",
}

import django

django.setup()

from django.conf import settings
from django.test.utils import get_runner
from django.urls import include, path
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView
from rest_framework_simplejwt.authentication import JWTAuthentication

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
        if client.get(url).status_code != 200:
            sys.exit(f"{url} does not answer")
    return (time.process_time() - start) / CALLS * 1000


def measure() -> dict[str, float]:
    """Median milliseconds of CPU for each view."""
    from apps.user.models import User
    from apps.user.tests.factories import make_token

    user = User.objects.create_superuser("bench@example.com", "a password for the bench")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
    urls = {"a bare view": "/bare/", "users/me/": "/api/v1/users/me/"}
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
        medians = measure()
    finally:
        runner.teardown_databases(databases)
    bare, me = medians.values()
    print("CPU for one call, median, in milliseconds")
    for name, value in medians.items():
        print(f"  {name:<12} {value:6.2f}")
    print(f"  {'difference':<12} {me - bare:6.2f}")


if __name__ == "__main__":
    main()
