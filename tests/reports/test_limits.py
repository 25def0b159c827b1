"""Rate limits that were bypassed or locked users out in other projects."""

import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.live import Server, Service, serving

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PASSWORD = "correct horse battery"  # noqa: S105
APP_KEY = secrets.token_urlsafe(48)
COUNTERS = """
from common.drf.models import Counter
result = sorted(Counter.objects.values_list("key", "count", "expires_at"))
"""
CREATE_USER = """
from django.utils import timezone
from apps.user.models import User
User.objects.create_user("{email}", "{password}", email_confirmed_at=timezone.now())
"""


@pytest.fixture(scope="module")
def processes(live_service: Service) -> Iterator[Server]:
    """gunicorn with two processes, which count together in PostgreSQL."""
    with serving(live_service, "gunicorn", WEB_CONCURRENCY="2", APP_KEY=APP_KEY) as running:
        yield running


@pytest.fixture(scope="module")
def sqlite_processes(sqlite_service: Service) -> Iterator[Server]:
    """gunicorn with two processes, which count together in SQLite."""
    with serving(sqlite_service, "gunicorn", WEB_CONCURRENCY="2") as running:
        yield running


# https://github.com/encode/django-rest-framework/issues/5181
# https://github.com/encode/django-rest-framework/issues/8127
# https://github.com/jazzband/django-axes/issues/592
def test_a_burst_does_not_pass_the_limit(live_server: Server) -> None:
    assert burst(live_server) == {400: 60, 429: 90}


def test_a_burst_does_not_pass_the_limit_of_several_processes(
    processes: Server, sqlite_processes: Server
) -> None:
    assert burst(processes) == burst(sqlite_processes) == {400: 60, 429: 90}


def burst(server: Server) -> Counter[int]:
    """Return the statuses of 150 requests of one address at once."""
    api = server.api()

    def guess(_number: int) -> int:
        return api("POST", "auth/confirm_email/", {"token": "guessed"}).status

    with ThreadPoolExecutor(50) as pool:
        return Counter(pool.map(guess, range(150)))


# https://github.com/jazzband/django-axes/pull/6 "easily lock everyone out"
# https://github.com/jazzband/django-axes/issues/608
def test_an_attacker_cannot_lock_the_owner_out(live_server: Server, sqlite_server: Server) -> None:
    for server in (live_server, sqlite_server):
        email = f"owner-{secrets.token_hex(4)}@example.com"
        server.service.shell(CREATE_USER.format(email=email, password=PASSWORD))
        stranger = server.api()
        login = {"email": email, "password": "wrong"}
        codes = [stranger("POST", "auth/login/", login).status for _try in range(12)]
        assert codes == [401] * 10 + [429] * 2
        owner = server.api()
        assert owner("POST", "auth/login/", login | {"password": PASSWORD}).status == 200


# https://github.com/code-dot-org/code-dot-org/pull/63218 "seeing unbounded growth"
def test_refused_requests_write_nothing(live_server: Server) -> None:
    api = live_server.api()
    for _try in range(60):
        api("POST", "auth/reset_password/", {"token": "x", "password": "correct horse"})
    counters = live_server.service.shell(COUNTERS)
    refused = api("POST", "auth/reset_password/", {"token": "x", "password": "correct horse"})
    assert refused.status == 429
    assert refused.body["code"] == "throttled"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert live_server.service.shell(COUNTERS) == counters


# The kind of https://github.com/jazzband/django-axes/issues/592, for a key instead of a password.
def test_wrong_app_keys_are_refused_and_the_right_one_is_not(processes: Server) -> None:
    api = processes.api()

    def post(key: str) -> int:
        return api("POST", "event-sync/", {}, headers={"Authorization": f"Token {key}"}).status

    with ThreadPoolExecutor(20) as pool:
        codes = Counter(pool.map(post, [f"guess {number}" for number in range(60)]))
    assert codes == {401: 30, 429: 30}
    assert post(APP_KEY) == 400
