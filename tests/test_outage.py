"""The service keeps running while its database is down and after it is back."""

import os
import signal
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support.servers import database, installed, production, served
from support.walk import Api

pytestmark = pytest.mark.servers

SECRET = "in-no-log"  # noqa: S105 - of a test


def kill_postgres(service: Path) -> None:
    """Kill the server without a shutdown, as a power failure does."""
    pid = int((service / ".postgres/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    for _attempt in range(100):
        if not (service / ".postgres/postmaster.pid").exists():
            return
        time.sleep(0.1)
    raise AssertionError("PostgreSQL did not stop")


def with_password(database_url: str) -> str:
    return database_url.replace("postgres@", f"postgres:{SECRET}@")


def open_with_session(url: str) -> int:
    """Open the admin site with a session, which is in the database."""
    headers = {"X-Forwarded-Proto": "https", "Cookie": "__Secure-sessionid=" + "s" * 32}
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/admin/", headers=headers), timeout=20)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def test_the_service_recovers_from_a_database_outage(
    copier: CopierFixture, short_path: Path
) -> None:
    service = installed(copier, short_path / "outage", database="postgres")
    credentials = {"email": "nobody@example.com", "password": "wrong"}
    with (
        database(service, "postgres") as database_url,
        served(service, production(with_password(database_url))) as url,
    ):
        api = Api(url, {"X-Forwarded-Proto": "https"})
        assert api("GET", "health/ready/").status == 200
        assert api("POST", "auth/login/", credentials).status == 401

        kill_postgres(service)
        ready = api("GET", "health/ready/")
        assert (ready.status, ready.body["checks"]["database"]) == (503, "unavailable")
        with ThreadPoolExecutor() as clients:
            began = time.monotonic()
            logins = [clients.submit(api, "POST", "auth/login/", credentials) for _ in range(4)]
            sessions = clients.submit(open_with_session, url)
            time.sleep(0.5)
            assert api("GET", "health/").status == 200
            assert time.monotonic() - began < 2
            for login in logins:
                assert (login.result().status, login.result().body["code"]) == (500, "server_error")
            assert sessions.result() == 500
            # The time-out of the pool, but only once, not for every query.
            assert time.monotonic() - began < 8
        log = (service / "program.log").read_text()
        assert "request_failed" in log
        assert credentials["email"] not in log
        assert SECRET not in log

        with database(service, "postgres"):
            for _attempt in range(50):
                if api("GET", "health/ready/").status == 200:
                    break
                time.sleep(0.2)
            assert api("GET", "health/ready/").status == 200
            assert api("POST", "auth/login/", credentials).status == 401
