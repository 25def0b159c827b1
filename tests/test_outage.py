"""A database that dies and comes back, while the service goes on."""

import os
import signal
import time
from pathlib import Path

from servers import database, installed, production, served
from walk import Api


def kill_postgres(service: Path) -> None:
    """End the server at once, as a power cut does."""
    pid = int((service / ".postgres/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    for _attempt in range(100):
        if not (service / ".postgres/postmaster.pid").exists():
            return
        time.sleep(0.1)
    raise AssertionError("PostgreSQL does not stop")


def test_a_dead_database(template: Path, short_path: Path) -> None:
    service = installed(template, short_path / "outage", database="postgres")
    credentials = {"email": "nobody@example.com", "password": "wrong"}
    with (
        database(service, "postgres") as database_url,
        served(service, production(database_url)) as url,
    ):
        api = Api(url, {"X-Forwarded-Proto": "https"})
        assert api("GET", "health/ready/").status == 200
        assert api("POST", "auth/login/", credentials).status == 401

        kill_postgres(service)
        ready = api("GET", "health/ready/")
        assert (ready.status, ready.body["checks"]["database"]) == (503, "unavailable")
        login = api("POST", "auth/login/", credentials)
        assert (login.status, login.body["code"]) == (500, "server_error")
        assert api("GET", "health/").status == 200

        with database(service, "postgres"):
            for _attempt in range(50):
                if api("GET", "health/ready/").status == 200:
                    break
                time.sleep(0.2)
            assert api("GET", "health/ready/").status == 200
            assert api("POST", "auth/login/", credentials).status == 401
