"""What an endpoint gets without stating anything: pages, filters, a limit, and a check."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import run_checks
from django.core.management import call_command
from django.http import HttpResponse
from django.urls import include, path, reverse
from rest_framework import serializers, viewsets
from rest_framework.decorators import api_view, schema
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from apps.user.models import User
from common.drf.throttling import ClientThrottle

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class GroupSerializer(serializers.ModelSerializer[Group]):
    class Meta:
        model = Group
        fields = ("id", "name")


class GroupViewSet(viewsets.ReadOnlyModelViewSet[Group]):
    permission_classes = [AllowAny]
    queryset = Group.objects.all()
    serializer_class = GroupSerializer
    filterset_fields = {"id": ["gte"]}
    search_fields = ["name"]
    ordering_fields = ["name"]
    ordering = ["id"]


class UndecidedView(APIView):
    schema = None

    def get(self, request: Request) -> Response:
        return Response()


class DecidingView(UndecidedView):
    def get_permissions(self) -> list[BasePermission]:
        return [AllowAny()]


@api_view()
@schema(None)
def undecided(request: Request) -> Response:
    return Response()


def page(request: Any) -> HttpResponse:
    return HttpResponse()


router = SimpleRouter()
router.register("groups", GroupViewSet, basename="group")

urlpatterns = [
    path("api/v1/", include((router.urls, "v1"))),
    path("api/v2/", include((router.urls, "v2"))),
    path("undecided/", UndecidedView.as_view()),
    path("undecided/too/", include([path("", undecided)])),
    path("decided/", DecidingView.as_view()),
    path("page/", page),
]

GROUPS = "/api/v1/groups/"


@pytest.fixture
def groups(db: None) -> list[Group]:
    return [Group.objects.create(name=f"Group {number:03}") for number in range(201)]


def names(api: APIClient, **query: Any) -> list[str]:
    return [group["name"] for group in api.get(GROUPS, query).json()["results"]]


def test_a_list_has_pages_of_a_size_that_the_client_may_choose(
    api: APIClient, groups: list[Group]
) -> None:
    page = api.get(GROUPS).json()
    assert (page["count"], len(page["results"]), page["previous"]) == (201, 50, None)
    assert page["next"] == f"http://testserver{GROUPS}?page=2"
    assert len(names(api, page_size=7)) == 7
    assert len(names(api, page_size=1000)) == 200
    assert api.get(GROUPS, {"page": 9**20}).status_code == 404


def test_a_list_can_be_filtered_searched_and_ordered(api: APIClient, groups: list[Group]) -> None:
    assert names(api, id__gte=groups[199].pk) == ["Group 199", "Group 200"]
    assert names(api, search="19", ordering="-name", page_size=2) == ["Group 199", "Group 198"]
    refused = api.get(GROUPS, {"id__gte": "x"})
    assert (refused.status_code, list(refused.json())) == (400, ["id__gte"])


def test_each_version_has_urls_and_operations_of_its_own(tmp_path: Path) -> None:
    assert reverse("v1:group-list") == GROUPS
    assert reverse("v2:group-list") == "/api/v2/groups/"
    file = tmp_path / "schema.yml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(file))
    assert "operationId: groups_list" in file.read_text()
    assert "operationId: v2_groups_list" in file.read_text()


def test_a_view_that_does_not_state_who_may_call_it_fails_the_checks() -> None:
    errors = [error for error in run_checks(tags=["urls"]) if error.id == "drf.E001"]
    assert [error.obj for error in errors] == [UndecidedView, undecided.cls]


@pytest.fixture
def two_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "client", "2/min")
    monkeypatch.setattr(ClientThrottle, "cache", LocMemCache("two-requests", {}))


@pytest.mark.usefixtures("two_requests")
def test_requests_are_limited_for_each_user_and_for_each_network_without_one(
    api: APIClient, user: User, user_api: APIClient
) -> None:
    user_api.force_authenticate(user)
    assert [user_api.get(GROUPS).status_code for _request in range(3)] == [200, 200, 429]
    for network in ("2001:db8::", "2001:db8:0:1::"):
        statuses = [
            api.get(GROUPS, REMOTE_ADDR=f"{network}{host}").status_code for host in (1, 2, 3)
        ]
        assert statuses == [200, 200, 429]
