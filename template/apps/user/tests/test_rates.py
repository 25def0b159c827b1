"""The rate limits of api_core.settings.base."""

from collections.abc import Callable
from functools import partial

import pytest
from rest_framework.test import APIClient

from apps.user.tests.factories import PASSWORD
from common.drf.models import Counter

pytestmark = pytest.mark.django_db


def attempt(api: APIClient, path: str, host: int = 1, email: str = "ana@example.com") -> bool:
    """Make a request, and return whether it is not refused."""
    body = {"email": email, "token": "wrong", "password": PASSWORD, "current_password": "wrong"}
    response = api.post(f"/api/v1/auth/{path}/", body, REMOTE_ADDR=f"192.0.2.{host}")
    return response.status_code != 429


def assert_limit(scope: str, limit: int, attempt: Callable[[int], bool]) -> None:
    """Assert that the last attempt within the limit is allowed, and that the next one is refused."""
    assert attempt(1)
    # Instead of making all requests.
    counter = Counter.objects.filter(key__startswith=f"{scope}:", count=1)
    assert counter.update(count=limit - 1) == 1
    assert attempt(2)
    assert not attempt(3)


@pytest.mark.parametrize(
    ("path", "scope"), [("login", "login"), ("register", "register"), ("forgot_password", "mail")]
)
def test_attempts_at_one_account_from_one_network_are_limited(
    api: APIClient, path: str, scope: str
) -> None:
    assert_limit(f"{scope}-account-network", 10, lambda _number: attempt(api, path))


@pytest.mark.parametrize(
    ("path", "scope", "limit"),
    [
        ("login", "login", 100),
        ("register", "register", 30),
        ("resend_confirmation", "mail", 30),
    ],
)
def test_attempts_at_one_account_from_many_networks_are_limited(
    api: APIClient, path: str, scope: str, limit: int
) -> None:
    assert_limit(f"{scope}-account", limit, partial(attempt, api, path))


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("login", "login"),
        ("register", "register"),
        ("forgot_password", "mail"),
        ("confirm_email", "token"),
    ],
)
def test_attempts_at_many_accounts_from_one_network_are_limited(
    api: APIClient, path: str, scope: str
) -> None:
    assert_limit(
        f"{scope}-address",
        60,
        lambda number: attempt(api, path, email=f"user{number}@example.com"),
    )


def test_attempts_at_the_current_password_are_limited(user_api: APIClient) -> None:
    path = "change_password"
    assert_limit("password-account-network", 10, lambda _number: attempt(user_api, path))


def test_attempts_at_the_current_password_from_many_networks_are_limited(
    user_api: APIClient,
) -> None:
    assert_limit("password-account", 30, partial(attempt, user_api, "change_password"))
