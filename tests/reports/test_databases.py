"""Unusual database set-ups: options in the URL, PgBouncer, special characters in folder names."""

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from pytest_copier.plugin import CopierFixture
from support import run
from support.live import Server, Service, serving
from support.servers import free_port, started
from support.websocket_stack import needs, wait_for_port

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PGBOUNCER = """
[databases]
postgres = host={folder} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
"""

READ_SETTINGS = """
from django.db import connection

names = ("search_path", "statement_timeout", "idle_in_transaction_session_timeout")
with connection.cursor() as cursor:
    for name in names:
        cursor.execute(f"SHOW {name}")
        print(cursor.fetchone()[0])
print(connection.settings_dict["OPTIONS"]["connect_timeout"])
"""

# More rows than a cursor fetches at once.
READ_MANY_ROWS = """
from django.contrib.auth.models import Group

Group.objects.bulk_create(Group(name=f"group {number}") for number in range(5000))
result = sum(1 for group in Group.objects.iterator(chunk_size=100))
Group.objects.all().delete()
"""


def log_in(server: Server, number: int) -> int:
    credentials = {"email": f"unknown{number}@example.com", "password": "a wrong password"}
    return server.api()("POST", "auth/login/", credentials).status


def test_options_in_the_database_url_are_used(live_service: Service) -> None:
    # https://github.com/jazzband/dj-database-url/pull/52
    url = live_service.variables["DATABASE_URL"]
    options = f"options={quote('-c search_path=tenant -c statement_timeout=7s')}&connect_timeout=3"
    printed = live_service.manage(
        *["shell", "--verbosity=0", "--command", READ_SETTINGS], DATABASE_URL=f"{url}?{options}"
    )
    assert printed.split("\n")[:4] == ["tenant", "7s", "1min", "3"]


def test_the_service_works_through_pgbouncer_in_transaction_mode(live_service: Service) -> None:
    # PgBouncer refuses settings of a session: "unsupported startup parameter: options".
    # https://github.com/pgbouncer/pgbouncer/issues/875
    folder, port = live_service.folder / "pgbouncer", free_port()
    folder.mkdir()
    database = live_service.folder / ".postgres"
    (folder / "pgbouncer.ini").write_text(PGBOUNCER.format(folder=database, port=port))
    folder.chmod(0o755)
    # Neither PgBouncer nor PostgreSQL runs as root. Both then run as this user.
    user = ["-u", "pgserver"] if os.geteuid() == 0 else []
    pooled = {
        "DATABASE_URL": f"postgres://postgres@127.0.0.1:{port}/postgres",
        "DATABASE_TRANSACTION_POOLING": "true",
    }
    program = needs("pgbouncer")
    with started(program, *user, "pgbouncer.ini", cwd=folder):
        wait_for_port(port)
        # Each waits for the lock of the other.
        with ThreadPoolExecutor() as pool:
            for future in [
                pool.submit(live_service.manage, "prepare_database", **pooled) for _ in range(2)
            ]:
                future.result()
        assert live_service.manage(
            *["shell", "--verbosity=0", "--command", f"{READ_MANY_ROWS}print(result)"], **pooled
        ).startswith("5000")
        with serving(live_service, "gunicorn", **pooled) as server, ThreadPoolExecutor(8) as pool:
            assert set(pool.map(partial(log_in, server), range(40))) == {401}
            assert server.api()("GET", "health/ready/").body["checks"]["database"] == "ok"


@pytest.mark.parametrize("name", ["a b", "C#", "50% (new) & 'old' $HOME"])
@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
def test_development_works_in_a_folder_of_any_name(
    live_service: Service, copier: CopierFixture, short_path: Path, kind: str, name: str
) -> None:
    # https://github.com/juspay/services-flake/pull/533
    folder = copier.copy(short_path / f"named-{kind}" / name, database=kind).path
    python = live_service.folder / ".venv/bin/python"
    home = {"XDG_DATA_HOME": str(short_path / "data")}
    run(python, "manage.py", "migrate", cwd=folder, **home)
    run(python, "manage.py", "migrate", "--check", cwd=folder, **home)
    if kind == "sqlite":
        assert (folder / "db.sqlite3").stat().st_size > 0


def test_no_postgresql_remains_after_runserver_is_killed(
    live_service: Service, copier: CopierFixture, short_path: Path
) -> None:
    folder = copier.copy(short_path / "reloader").path
    python, port = live_service.folder / ".venv/bin/python", free_port()
    command = [str(python), "manage.py", "runserver", f"127.0.0.1:{port}"]
    with (
        (folder / "program.log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        wait_for_port(port)
        postmaster = folder / ".postgres/postmaster.pid"
        pid = int(postmaster.read_text().split()[0])
        server.send_signal(signal.SIGTERM)
    for _attempt in range(200):
        if not postmaster.exists():
            break
        time.sleep(0.1)
    assert not postmaster.exists(), f"PostgreSQL {pid} still runs"
