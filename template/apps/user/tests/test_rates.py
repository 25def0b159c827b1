"""The rate limits of api_core.settings.base."""

import pytest
from rest_framework.test import APIClient

from apps.user.tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


def tries_until_refused(api: APIClient, path: str, *, addresses: list[str], email: str) -> int:
    """Return the number of requests before the first refusal."""
    for number in range(200):
        body = {"email": email.format(number), "token": "wrong", "password": PASSWORD}
        body["current_password"] = "wrong"
        address = addresses[number % len(addresses)]
        if api.post(f"/api/v1/auth/{path}/", body, REMOTE_ADDR=address).status_code == 429:
            return number
    raise AssertionError


@pytest.mark.parametrize(
    ("path", "limit"), [("login", 10), ("register", 10), ("forgot_password", 10)]
)
def test_attempts_at_one_account_from_one_network_are_limited(
    api: APIClient, path: str, limit: int
) -> None:
    tried = tries_until_refused(api, path, addresses=["192.0.2.1"], email="ana@example.com")
    assert tried == limit


@pytest.mark.parametrize(
    ("path", "limit"), [("login", 100), ("register", 30), ("resend_confirmation", 30)]
)
def test_attempts_at_one_account_from_many_networks_are_limited(
    api: APIClient, path: str, limit: int
) -> None:
    swarm = [f"192.0.2.{host}" for host in range(20)]
    assert tries_until_refused(api, path, addresses=swarm, email="ana@example.com") == limit


@pytest.mark.parametrize("path", ["login", "register", "forgot_password", "confirm_email"])
def test_attempts_at_many_accounts_from_one_network_are_limited(api: APIClient, path: str) -> None:
    tried = tries_until_refused(api, path, addresses=["192.0.2.1"], email="user{}@example.com")
    assert tried == 60


def test_attempts_at_the_current_password_are_limited(user_api: APIClient) -> None:
    path, email = "change_password", ""
    assert tries_until_refused(user_api, path, addresses=["192.0.2.1"], email=email) == 10


def test_attempts_at_the_current_password_from_many_networks_are_limited(
    user_api: APIClient,
) -> None:
    swarm = [f"192.0.2.{host}" for host in range(20)]
    assert tries_until_refused(user_api, "change_password", addresses=swarm, email="") == 30
