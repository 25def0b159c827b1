"""How often each endpoint asks the database. A change of a number should be on purpose."""

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from apps.user.models import User
from apps.user.tests.factories import PASSWORD

API = "/api/v1/"


@pytest.mark.django_db
def test_liveness_makes_no_query(
    api: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert api.get(f"{API}health/").status_code == 200


# The user of the JWT is the first query. The groups and the permissions are two. Deleting a user is
# not here, because each model that refers to users adds a query.
@pytest.mark.parametrize(
    ("request_line", "queries"),
    [
        ("get users/me/", 1),
        ("get users/", 4),
        ("get users/{id}/", 4),
        ("patch users/{id}/", 10),
        ("post auth/logout/", 2),
    ],
)
def test_the_number_of_queries_with_a_jwt(
    user_api: APIClient,
    user: User,
    django_assert_num_queries: DjangoAssertNumQueries,
    request_line: str,
    queries: int,
) -> None:
    method, path = request_line.format(id=user.pk).split()
    with django_assert_num_queries(queries):
        response = getattr(user_api, method)(f"{API}{path}", {"first_name": "Eva"})
    assert response.status_code in {200, 204}


# Three counters of the rate limits, the user, the time of the login, the session, and how many
# the user has.
def test_the_number_of_queries_of_a_login(
    api: APIClient, user: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(7):
        body = {"email": user.email, "password": PASSWORD}
        assert api.post(f"{API}auth/login/", body).status_code == 200
