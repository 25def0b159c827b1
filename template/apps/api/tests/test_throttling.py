import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from apps.user.models import User
from apps.user.tests.factories import PASSWORD
from common.drf import throttling
from common.drf.models import Counter

LOGIN = "/api/v1/auth/login/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def low_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {
        "login-address": "5/min",
        "login-account-network": "3/min",
        "login-account": "6/min",
    }
    for scope, rate in rates.items():
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, scope, rate)


def log_in(api: APIClient, address: str, email: str = "ana@example.com", **body: str) -> int:
    body = {"email": email, "password": "wrong"} | body
    return api.post(LOGIN, body, REMOTE_ADDR=address).status_code


# The serializer removes white space before it checks the length.
SPELLINGS = ["\tana@example.com", "ana@example.com\n", " " * 260 + "ana@example.com"]


def counted() -> list[tuple[str, int, float]]:
    return sorted(Counter.objects.values_list("key", "count", "expires_at"))


class TestAccounts:
    def test_white_space_around_an_address_is_ignored(self, api: APIClient) -> None:
        full_width = "\tana@ｅｘａｍｐｌｅ.com"
        tried = [log_in(api, "192.0.2.1", email) for email in [*SPELLINGS, full_width]]
        assert tried == [401, 401, 401, 429]

    def test_attempts_with_white_space_around_the_address_count(self, user_api: APIClient) -> None:
        user = User.objects.get()
        changes = [
            user_api.patch(
                f"/api/v1/users/{user.pk}/",
                {"email": f"\tnew{number}@example.org", "current_password": "a wrong one"},
            ).status_code
            for number in range(12)
        ]
        assert changes == [400] * 10 + [429] * 2

    def test_attempts_from_one_network_do_not_lock_out_the_owner(
        self, api: APIClient, user: User
    ) -> None:
        stranger = [log_in(api, "192.0.2.1", user.email) for _try in range(5)]
        assert stranger == [401] * 3 + [429] * 2
        assert log_in(api, "198.51.100.1", user.email, password=PASSWORD) == 200

    @pytest.mark.parametrize("owner", ["2001:db8:0:1::1", "2001:db8:1::1"])
    def test_an_ipv6_network_is_one_client(self, api: APIClient, user: User, owner: str) -> None:
        hosts = ["1", "2", "8000:0:0:1", "8000:0:0:2"]
        stranger = [log_in(api, f"2001:db8::{host}", user.email) for host in hosts]
        assert stranger == [401] * 3 + [429]
        assert log_in(api, owner, user.email, password=PASSWORD) == 200

    def test_many_networks_share_the_limit_of_the_account(self, api: APIClient) -> None:
        swarm = [log_in(api, f"192.0.2.{host}") for host in range(7)]
        assert swarm == [401] * 6 + [429]

    def test_the_limit_of_the_account_does_not_need_the_one_for_each_network(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(SimpleRateThrottle.THROTTLE_RATES, "login-account-network", None)
        swarm = [log_in(api, f"192.0.2.{number % 2}") for number in range(7)]
        assert swarm == [401] * 6 + [429]

    @pytest.mark.parametrize("other", ["bob@BÜCHER.example", "bob@xn--bcher-kva.example"])
    def test_all_spellings_of_an_address_are_one_account(self, api: APIClient, other: str) -> None:
        for spelling in ("bob@bücher.example", "bob@bu\u0308cher.example", "Bob@bücher.example"):
            log_in(api, "192.0.2.1", spelling)
        assert log_in(api, "192.0.2.1", other) == 429

    def test_refused_attempts_do_not_count_for_the_account(self, api: APIClient) -> None:
        for _try in range(5):
            log_in(api, "192.0.2.1")
        assert [log_in(api, f"198.51.100.{host}") for host in range(4)] == [401] * 3 + [429]


class TestRefusal:
    @pytest.fixture(autouse=True)
    def refused_address(self, api: APIClient) -> None:
        for number in range(5):
            log_in(api, "192.0.2.1", f"{number}@example.com")

    def test_a_refused_request_writes_nothing(self, api: APIClient) -> None:
        before = counted()
        assert [log_in(api, "192.0.2.1", f"new{n}@example.com") for n in range(3)] == [429] * 3
        assert counted() == before

    def test_the_body_of_a_refused_request_is_not_read(self, api: APIClient) -> None:
        body = BytesIO(b'{"email": "ana@example.com", "password": "wrong"}')
        extra: Any = {
            "wsgi.input": body,
            "CONTENT_LENGTH": "49",
            "CONTENT_TYPE": "application/json",
        }
        response = api.generic("POST", LOGIN, REMOTE_ADDR="192.0.2.1", **extra)
        assert (response.status_code, body.tell()) == (429, 0)

    def test_retry_after_is_the_rest_of_the_window(
        self, api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        response = api.post(LOGIN, {}, REMOTE_ADDR="192.0.2.1")
        assert 55 <= int(response.headers["Retry-After"]) <= 60
        assert response.json()["code"] == "throttled"
        later = time.time() + 61
        monkeypatch.setattr(time, "time", lambda: later)
        assert log_in(api, "192.0.2.1") == 401


class TestCounters:
    def test_counting_an_attempt_takes_one_statement(self) -> None:
        for expected in (0, 0):
            with CaptureQueriesContext(connection) as captured:
                assert throttling.seconds_to_wait("key", 2, 60) == expected
            assert len(captured) == 1
        assert 1 <= throttling.seconds_to_wait("key", 2, 60) <= 60

    def test_an_expired_window_starts_again_with_its_whole_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1_000_000.0
        monkeypatch.setattr(time, "time", lambda: now)
        assert throttling.seconds_to_wait("key", 1, 60) == 0
        now += 59.5
        assert throttling.seconds_to_wait("key", 1, 60) == 1
        now += 0.5
        assert throttling.seconds_to_wait("key", 1, 60) == 0
        assert counted() == [("key", 1, now + 60)]
        assert throttling.seconds_to_wait("key", 1, 60) == 60

    def test_expired_counters_are_deleted_regularly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(throttling, "_windows", count(1))
        monkeypatch.setattr(throttling, "PRUNE_EVERY", 3)
        Counter.objects.create(key="expired", count=9, expires_at=time.time() - 1)
        for key in ("one", "one", "two"):
            throttling.seconds_to_wait(key, 10, 60)
        assert Counter.objects.filter(key="expired").exists()
        throttling.seconds_to_wait("three", 10, 60)
        assert [key for key, _count, _expires in counted()] == ["one", "three", "two"]

    @pytest.mark.parametrize("address", ["", "x" * 5000, "not an address", "fe80::1%eth0"])
    def test_requests_from_invalid_addresses_are_limited_together(
        self, api: APIClient, address: str
    ) -> None:
        assert [log_in(api, address, f"{n}@example.com") for n in range(6)] == [401] * 5 + [429]


@pytest.mark.django_db(transaction=True)
def test_concurrent_attempts_are_all_counted() -> None:
    def in_a_thread(_number: int) -> bool:
        try:
            return throttling.seconds_to_wait("key", 10, 60) == 0
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(in_a_thread, range(80))) == 10
