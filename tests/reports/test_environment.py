"""Variables in .env reach the service however it is started."""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pytest_copier.plugin import CopierFixture
from support.containers import wait_until
from support.live import Service, serving
from support.servers import free_port, started, wait_for
from websockets.sync.client import connect

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("reports")]

# A settings module that records the environment of each process that imports it.
RECORDER = """
import json, os
from pathlib import Path

from api_core.settings.prod import *

record = Path(f"environment-{os.getpid()}")
record.write_text(json.dumps(dict(os.environ)))
record.rename(f"{record}.json")
"""

BOTO3 = """
import boto3, json
client = boto3.client("sqs", "us-east-1")
credentials = boto3.Session().get_credentials()
print(json.dumps([credentials.access_key, credentials.secret_key, client.meta.endpoint_url]))
"""

MAILERS = """
import json
from django.conf import settings
print(json.dumps(settings.MAILERS["default"]["OPTIONS"]))
"""

# The ways to start a web server, and the value of SERVER.
SERVERS = [
    ("./start_server.sh", "daphne"),
    ("./start_server.sh", "uvicorn"),
    ("./start_server.sh", "gunicorn"),
    (".venv/bin/daphne -b ::1 -p {port} api_core.asgi:application", "daphne"),
    (".venv/bin/uvicorn --host ::1 --port {port} api_core.asgi:application", "uvicorn"),
    (".venv/bin/gunicorn api_core.wsgi", "gunicorn"),
]


def copied(copier: CopierFixture, folder: Path, service: Service) -> Path:
    """Generate a service that runs with the packages of another one."""
    copier.copy(folder)
    (folder / ".venv").symlink_to(service.folder / ".venv")
    return folder


@pytest.fixture(scope="session")
def fresh(copier: CopierFixture, short_path: Path, live_service: Service) -> Path:
    """A fresh copy."""
    return copied(copier, short_path / "fresh", live_service)


class Accepting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="session")
def receiver() -> Iterator[int]:
    """The port of a server that accepts error reports, traces and metrics."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Accepting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="session")
def values(live_service: Service, receiver: int) -> dict[str, str]:
    """A production value for each variable of .env.example, different from the default."""
    return {
        "DJANGO_SETTINGS_MODULE": "recorder",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64) + "$HOME${HOME}$$",
        "DJANGO_SECRET_KEY_FALLBACKS": f"{secrets.token_urlsafe(64)}, {secrets.token_urlsafe(64)}",
        "DJANGO_DEBUG": "false",
        "DJANGO_ALLOWED_HOSTS": "api.example.com, [::1]",
        "DJANGO_LOG_LEVEL": "WARNING",
        "SENTRY_DSN": f"http://key@127.0.0.1:{receiver}/1",
        "SENTRY_RELEASE": "1.2.3",
        "SENTRY_ENVIRONMENT": "staging",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver}",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20secret",
        "OTEL_SERVICE_NAME": "another-service",
        "URL_BASE": "https://api.example.com/",
        "DATABASE_URL": live_service.variables["DATABASE_URL"],
        "DATABASE_POOL_SIZE": "3",
        "DATABASE_STATEMENT_TIMEOUT": "20000",
        "DATABASE_TRANSACTION_POOLING": "true",
        "HOME_URL": "https://www.example.com/",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "WEBSOCKET_ECHO_NEEDS_USER": "false",
        "EMAIL_HOST": "smtp.example.com",
        "EMAIL_PORT": "465",
        "EMAIL_HOST_USER": "service",
        "EMAIL_HOST_PASSWORD": "pa$word#1",
        "DEFAULT_FROM_EMAIL": "Serviço <noreply@example.com>",
        "SQS_QUEUE_URL": "http://127.0.0.1:9/123456789012/events",
        "SQS_INBOUND_QUEUE_URL": "http://127.0.0.1:9/123456789012/confirmations",
        "APP_KEY": secrets.token_urlsafe(48),
        "APP_KEY_FALLBACKS": f"{secrets.token_urlsafe(48)}, {secrets.token_urlsafe(48)}",
        "EVENT_SYNC_SEND_AT_COMMIT": "false",
        "AWS_DEFAULT_REGION": "sa-east-1",
        "AWS_REGION": "sa-east-1",
        "AWS_ACCESS_KEY_ID": "key-of-env",
        "AWS_SECRET_ACCESS_KEY": "secret-of-env",
        "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9",
        "REQUIRE_CONFIRMED_EMAIL": "false",
        "REGISTER_RETURNS_CONFIRM_TOKEN": "false",
        "CORS_ALLOWED_ORIGINS": "https://a.example.com, https://b.example.com",
        "NUM_PROXIES": "2",
        "CSRF_TRUSTED_ORIGINS": "https://api.example.com:8443",
        "SCRIPT_NAME": "/svc",
        "WEB_THREADS": "3",
        "STOP_TIMEOUT": "20",
        # No pause: start_server.sh then becomes the server.
        "STOP_PAUSE": "0.0",
        "SECURE_SSL_REDIRECT": "false",
        "BIND": "::1",
        "PORT": str(free_port()),
        "SERVER": "daphne",
        "WEB_CONCURRENCY": "2",
        # Read by Docker Compose and the scripts of the containers.
        "DATABASE_WAIT": "30",
        "COLLECTSTATIC": "1",
        "OBSERVABILITY": "1",
        "COMPOSE_PROFILES": "consumer",
        "COMPOSE_FILE": "docker-compose.yml:docker-compose.vm.yml",
        "DOMAIN": "api.example.com",
        "POSTGRES_PASSWORD": "pa$word",
    }


@pytest.fixture(scope="session")
def configured(
    copier: CopierFixture, short_path: Path, live_service: Service, values: dict[str, str]
) -> Path:
    """A copy with a value for every variable of .env.example."""
    folder = copied(copier, short_path / "configured", live_service)
    shutil.copytree(live_service.folder / "staticfiles", folder / "staticfiles")
    (folder / "recorder.py").write_text(RECORDER)
    lines = (folder / ".env.example").read_text().splitlines()
    (folder / ".env").write_text("\n".join(filled(line, values) for line in lines))
    return folder


def filled(line: str, values: dict[str, str]) -> str:
    """Return a line of the example with another value. Comments are not changed."""
    variable = re.match(r"#?([A-Z][A-Z0-9_]+)=", line)
    return f"{variable[1]}={values[variable[1]]}" if variable else line


@pytest.fixture(autouse=True)
def no_records(request: pytest.FixtureRequest) -> None:
    if "configured" in request.fixturenames:
        for file in request.getfixturevalue("configured").glob("environment-*.json"):
            file.unlink()


def recorded(folder: Path) -> Iterator[dict[str, str]]:
    """Return the environments of the processes that have read the settings."""
    for file in folder.glob("environment-*.json"):
        yield json.loads(file.read_text())


@contextmanager
def dotenv(folder: Path, text: str, encoding: str = "utf-8") -> Iterator[None]:
    """Add lines to .env during the block."""
    file = folder / ".env"
    own = file.read_text()
    file.write_text(own + text, encoding=encoding)
    try:
        yield
    finally:
        file.write_text(own)


def manage(folder: Path, *arguments: str) -> str:
    """Run a command of manage.py without exported variables."""
    return subprocess.run(
        [".venv/bin/python", "manage.py", *arguments],
        cwd=folder,
        env={},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


# DJANGO_SETTINGS_MODULE of .env was ignored:
# https://github.com/valerymelou/cookiecutter-django-gulp/issues/87
# A "$" cut values off: https://github.com/jpadilla/django-dotenv/issues/53
# gunicorn did not accept IPv6 addresses that other servers accept: https://github.com/apache/airflow/issues/656
@pytest.mark.parametrize(("command", "server"), SERVERS)
def test_each_line_of_env_reaches_each_server(
    configured: Path, values: dict[str, str], command: str, server: str
) -> None:
    env = configured / ".env"
    env.write_text(re.sub(r"^SERVER=.*", f"SERVER={server}", env.read_text(), flags=re.MULTILINE))
    port = values["PORT"]
    with started(*command.format(port=port).split(), cwd=configured) as process:
        wait_for(f"http://[::1]:{port}/svc/api/v1/health/")
        running = Path(f"/proc/{process.pid}/cmdline").read_text()
        # A bare uvicorn reads its number of processes before it imports the service.
        if server == "gunicorn" or (server == "uvicorn" and command == "./start_server.sh"):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            wait_until(lambda: len(children.read_text().split()) >= 2)
    assert server in running
    environments = list(recorded(configured))
    assert environments
    for environment in environments:
        for name, value in (values | {"SERVER": server}).items():
            assert environment[name] == value, name


@pytest.mark.parametrize("command", ["db_worker", "event_sync_relay", "event_sync_consume"])
def test_each_line_of_env_reaches_each_process(
    configured: Path, values: dict[str, str], command: str
) -> None:
    with started(".venv/bin/python", "manage.py", command, cwd=configured):
        (environment,) = wait_until(lambda: list(recorded(configured)))
    for name, value in values.items():
        if name != "SERVER":
            assert environment[name] == value, name


def test_each_line_of_env_reaches_manage_py(configured: Path, values: dict[str, str]) -> None:
    manage(configured, "check")
    (environment,) = recorded(configured)
    for name, value in values.items():
        if name != "SERVER":
            assert environment[name] == value, name


def test_the_example_and_the_values_here_name_the_same_variables(
    fresh: Path, values: dict[str, str]
) -> None:
    example = (fresh / ".env.example").read_text()
    assert set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE)) == set(values)


def test_boto3_finds_the_credentials_of_env(configured: Path, values: dict[str, str]) -> None:
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_SQS"]
    found = manage(configured, "shell", "--verbosity=0", "--command", BOTO3)
    assert json.loads(found) == [values[name] for name in names]


# https://github.com/django/channels/issues/230
@pytest.mark.parametrize(
    "command",
    [
        "./start_server.sh",
        ".venv/bin/daphne -b 127.0.0.1 -p {port} api_core.asgi:application",
        ".venv/bin/uvicorn api_core.asgi:application --host 127.0.0.1 --port {port}",
    ],
)
def test_a_fresh_copy_starts_in_development(fresh: Path, command: str) -> None:
    port = free_port()
    with (
        dotenv(fresh, f"BIND=127.0.0.1\nPORT={port}\n"),
        started(*command.format(port=port).split(), cwd=fresh),
    ):
        wait_for(f"http://127.0.0.1:{port}/api/docs/")
        with connect(f"ws://127.0.0.1:{port}/ws/echo/") as client:
            client.send("olá")
            assert client.recv(timeout=10) == "olá"


# https://github.com/vlucas/phpdotenv/issues/282
# https://github.com/theskumar/python-dotenv/issues/207
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize(
    "command",
    [
        ".venv/bin/python manage.py check",
        "./start_server.sh",
        ".venv/bin/daphne api_core.asgi:application",
        ".venv/bin/uvicorn api_core.asgi:application",
        ".venv/bin/gunicorn api_core.wsgi",
    ],
)
def test_an_env_that_is_not_utf_8_is_named_in_one_line(
    fresh: Path, command: str, encoding: str
) -> None:
    with dotenv(fresh, "# configuração\n", encoding):
        ended = subprocess.run(
            command.split(),
            cwd=fresh,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    line = f"Configuration error: {fresh / '.env'} is not encoded in UTF-8\n"
    assert ended.stdout + ended.stderr == line


# https://github.com/healthchecks/healthchecks/issues/683
@pytest.mark.parametrize(("port", "tls"), [("465", "use_ssl"), ("587", "use_tls"), ("1025", "")])
def test_smtp_uses_tls_in_development_too(fresh: Path, port: str, tls: str) -> None:
    with dotenv(fresh, f"EMAIL_HOST=smtp.example.com\nEMAIL_PORT={port}\n"):
        options = json.loads(manage(fresh, "shell", "--verbosity=0", "--command", MAILERS))
    assert [name for name in ("use_ssl", "use_tls") if options[name]] == ([tls] if tls else [])


# All clients shared one limit: https://github.com/zestedesavoir/zds-site/issues/2317
def test_a_proxy_that_is_not_counted_is_logged_once(live_service: Service) -> None:
    with serving(live_service, "gunicorn", NUM_PROXIES="0") as server:
        before = len(server.log())
        for _request in range(3):
            assert server.api()("GET", "health/").body == {"status": "ok"}
        assert server.log()[before:].count("proxy_not_counted") == 1
