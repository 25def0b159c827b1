"""Logs of errors in production contain no secrets.

structlog's default for JSON shows local variables: https://github.com/hynek/structlog/issues/715
Showing a QuerySet runs its query: https://github.com/getsentry/sentry-python/issues/5414
Messages of drivers contain credentials: https://github.com/psycopg/psycopg2/issues/1837
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest
from support.live import Server, Service

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

PASSWORD = "a-password-in-no-log"  # noqa: S105 - of a test


@dataclass
class Account:
    email: str
    jwt: str
    reset_token: str
    session: str

    def secrets(self) -> list[str]:
        return [PASSWORD, *vars(self).values()]


def account(service: Service) -> Account:
    email = f"in-no-log-{uuid4().hex}@example.com"
    values = service.shell(f"""
from django.test import Client
from django.utils import timezone
from apps.user.models import User
from apps.user.tests.factories import make_token
from apps.user.tokens import reset_password_token

user = User.objects.create_user({email!r}, {PASSWORD!r}, email_confirmed_at=timezone.now())
client = Client()
client.force_login(user)
result = [make_token(user), reset_password_token.issue(user).token, client.session.session_key]
""")
    return Account(email, *values)


def sql(service: Service, statement: str) -> None:
    service.shell(f"from django.db import connection; connection.cursor().execute({statement!r})")


@contextmanager
def without_table(service: Service, table: str) -> Iterator[None]:
    sql(service, f"ALTER TABLE {table} RENAME TO gone")
    try:
        yield
    finally:
        sql(service, f"ALTER TABLE gone RENAME TO {table}")


def new_lines(server: Server, before: int) -> list[str]:
    return server.log()[before:].splitlines()


def check_lines(lines: list[str], secrets: list[str]) -> None:
    """Check that each line is JSON and contains none of these."""
    assert lines
    for line in lines:
        json.loads(line)
        assert not [secret for secret in secrets if secret in line], line


def fail_every_call(server: Server, user: Account) -> None:
    before = len(server.log())
    new = f"new-in-no-log-{uuid4().hex}@example.com"
    profile = {"first_name": "Ana", "last_name": "S", "phone": "+5511961234567"}
    with without_table(server.service, "user_user"):
        for path, body in {
            "auth/login/": {"email": user.email, "password": PASSWORD},
            "auth/register/": {"email": new, "password": PASSWORD, **profile},
            "auth/reset_password/": {"token": user.reset_token, "password": PASSWORD},
        }.items():
            assert server.api()("POST", path, body).status == 500, path
        assert server.api(user.jwt)("GET", "users/me/").status == 500
        admin = server.raw(
            b"GET /admin/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
            b"Connection: close\r\nCookie: __Secure-sessionid=%s\r\n\r\n" % user.session.encode()
        )
        assert admin.startswith(b"HTTP/1.1 500"), admin
    lines = new_lines(server, before)
    assert len([line for line in lines if '"request_failed"' in line]) == 5
    check_lines(lines, [*user.secrets(), new, "961234567"])


def test_a_database_error_leaves_no_secret_in_the_log(live_server: Server) -> None:
    fail_every_call(live_server, account(live_server.service))


def test_an_error_of_sqlite_leaves_no_secret_in_the_log(sqlite_server: Server) -> None:
    fail_every_call(sqlite_server, account(sqlite_server.service))


def test_a_refused_row_is_not_logged(live_server: Server) -> None:
    """PostgreSQL's message quotes the whole row."""
    service, user = live_server.service, account(live_server.service)
    api = live_server.api(user.jwt)
    path = f"users/{api('GET', 'users/me/').body['user']['id']}/"
    before = len(live_server.log())
    sql(service, "ALTER TABLE user_user ADD CONSTRAINT f CHECK (first_name <> 'Eve') NOT VALID")
    try:
        assert api("PATCH", path, {"first_name": "Eve"}).status == 500
    finally:
        sql(service, "ALTER TABLE user_user DROP CONSTRAINT f")
    lines = new_lines(live_server, before)
    assert "violates check constraint" in "".join(lines)
    check_lines(lines, user.secrets())


def test_a_refused_value_is_not_logged(live_service: Service) -> None:
    described = live_service.shell("""
from django.db import DataError, connection
from common.tracebacks import describe_error

try:
    connection.cursor().execute("SELECT %s::int", ["in-no-log"])
except DataError as error:
    result = describe_error(error)
""")
    assert described == (
        "django.db.utils.DataError: psycopg.errors.InvalidTextRepresentation: 22P02"
    )


def test_an_error_in_a_websocket_leaves_no_secret_in_the_log(live_server: Server) -> None:
    if live_server.name == "gunicorn":
        return  # gunicorn serves no WebSockets
    user = account(live_server.service)
    before = len(live_server.log())
    with without_table(live_server.service, "user_user"):
        live_server.raw(
            b"GET /ws/echo/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % user.jwt.encode()
        )
        # Daphne checks for failed connections once a second.
        for _attempt in range(50):
            if "UndefinedTable" in server_log_since(live_server, before):
                break
            time.sleep(0.1)
    lines = new_lines(live_server, before)
    assert "UndefinedTable" in "".join(lines)
    check_lines(lines, user.secrets())


def server_log_since(server: Server, before: int) -> str:
    return server.log()[before:]


def test_an_error_of_the_worker_leaves_no_secret_in_the_log(sqlite_server: Server) -> None:
    user = account(sqlite_server.service)
    before = len(sqlite_server.log())
    with without_table(sqlite_server.service, "communication_email"):
        sqlite_server.api()("POST", "auth/forgot_password/", {"email": user.email})
        for _attempt in range(100):
            if '"exception"' in server_log_since(sqlite_server, before):
                break
            time.sleep(0.1)
    lines = new_lines(sqlite_server, before)
    assert '"exception"' in "".join(lines)
    check_lines(lines, user.secrets())


@pytest.mark.parametrize(
    ("command", "event"),
    [(["migrate"], "process_failed"), (["db_worker"], "process_failed")],
)
def test_a_command_without_its_database_does_not_show_the_connection_string(
    live_service: Service, command: list[str], event: str
) -> None:
    url = "postgres://app:in-no-log@127.0.0.1:1/app"
    process = subprocess.run(
        [live_service.folder / ".venv/bin/python", "manage.py", *command],
        cwd=live_service.folder,
        env=live_service.variables | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    lines = process.stderr.splitlines()
    assert event in [json.loads(line)["event"] for line in lines]
    check_lines(lines, ["in-no-log"])


def test_the_relay_does_not_log_the_events_that_it_cannot_send(live_service: Service) -> None:
    live_service.shell("""
from apps.event_sync.managers.producer_msg import ProducerMsg

ProducerMsg(
    apps={"target": ["billing"]},
    obj_type="test_event_sync",
    obj_data={"number": "in-no-log"},
    obj_cmd="put",
).handle_msg_sync()
""")
    relay = subprocess.run(
        [live_service.folder / ".venv/bin/python", "manage.py", "event_sync_relay", "--once"],
        cwd=live_service.folder,
        env=live_service.variables | {"DJANGO_LOG_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert relay.returncode == 1
    assert "event_sync_outage" in relay.stderr
    assert "in-no-log" not in relay.stdout + relay.stderr
