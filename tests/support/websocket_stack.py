"""The environment of WebSockets in production: Redis, several processes, nginx."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.sync.client import ClientConnection, connect

from support import ROOT, run
from support.servers import database, free_port, production, started, wait_for

SERVERS = ["daphne", "uvicorn"]
HOST = "api.example.com"

# The nginx configuration around the site of docs/websockets_production.md, and two hosts with an
# empty page.
NGINX = """
daemon off;
master_process off;
pid nginx.pid;
events {}
http {
    access_log nginx-access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    %s
    server {
        listen 127.0.0.1:%d ssl;
        server_name app.example.com evil.example.com;
        ssl_certificate     certificate.pem;
        ssl_certificate_key key.pem;
        default_type text/html;
        return 200 "<title>another page</title>";
    }
}
"""

PASSWORD = "correct horse battery"  # noqa: S105

CREATE_USER = """
import json
from datetime import timedelta
from django.conf import settings
from django.test import Client
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken
from apps.user.models import User
from apps.user.tests.factories import make_token

user, _ = User.objects.get_or_create(email="{name}@example.com")
user.email_confirmed_at, user.is_staff, user.is_superuser = timezone.now(), True, True
user.set_password("{password}")
user.save()
client = Client()
client.force_login(user)
session = client.cookies[settings.SESSION_COOKIE_NAME]
jwt = AccessToken(make_token(user))
jwt.set_exp(lifetime=timedelta(**{lifetime}))
cookie = session.key + "=" + session.value
print(json.dumps(dict(id=user.pk, token=str(jwt), cookie=cookie)))
"""

NOTIFY = """
from apps.api.notifications import notify
from apps.user.models import User
notify(User.objects.get(pk={user}), {event})
print("null")
"""

# A process of the service without a server, which runs the code that it reads.
WORKER = """
import json, sys
import django

django.setup()
for line in sys.stdin:
    exec(json.loads(line), {})
    sys.stdout.flush()
"""


def needs(program: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if not path:
        pytest.skip(f"{program} is not installed; .ci/run installs it")
    return path


def wait_for_port(port: int) -> None:
    for _attempt in range(600):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    pytest.fail(f"nothing listens on port {port}")


class Redis:
    """A Redis server that can be killed and started again, empty, at the same address."""

    def __init__(self, folder: Path) -> None:
        self._program = needs("redis-server")
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--save", ""]
        with (self._folder / "redis.log").open("a") as log:
            self._process = subprocess.Popen(
                [self._program, *options], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log
            )
        wait_for_port(self._port)

    def kill(self) -> None:
        """Kill it without a shutdown, as a power failure does."""
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def serving(service: Path, server: str, variables: dict[str, str]) -> Iterator[int]:
    """Start one process of the service with its script, and yield the port."""
    port = free_port()
    own = {
        "PATH": f"{service / '.venv/bin'}:{os.environ['PATH']}",
        "BIND": "127.0.0.1",
        "PORT": str(port),
        "SERVER": server,
        "WEB_CONCURRENCY": "1",
    }
    with started("./start_server.sh", cwd=service, **variables | own):
        wait_for_port(port)
        wait_for(f"http://127.0.0.1:{port}/api/v1/health/")
        yield port


def open_socket(url: str, port: int, headers: dict[str, str], **options: Any) -> ClientConnection:
    """Open a WebSocket as if the host of the URL resolved to this port of loopback."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection: ClientConnection = connect(url, sock=sock, additional_headers=headers, **options)
    return connection


class User(NamedTuple):
    id: int
    token: str
    cookie: str


class Stack:
    """Two processes of one service, in production, with one database and one Redis."""

    def __init__(
        self,
        service: Path,
        server: str,
        variables: dict[str, str],
        redis: Redis,
        worker: subprocess.Popen[str],
    ) -> None:
        self.service = service
        self.server = server
        self.variables = variables
        self.redis = redis
        self.ports: list[int] = []
        self._worker = worker

    def user(self, name: str, **lifetime: int) -> User:
        """Create a user with a session, and a JWT with this lifetime (of ``timedelta``)."""
        code = CREATE_USER.format(name=name, password=PASSWORD, lifetime=lifetime or {"days": 1})
        return User(**self._run(code))

    def notify(self, user: User, **event: Any) -> None:
        """Send a notification from a process without a server."""
        self._run(NOTIFY.format(user=user.id, event=event))

    def _run(self, code: str) -> Any:
        assert self._worker.stdin
        assert self._worker.stdout
        self._worker.stdin.write(json.dumps(code) + "\n")
        self._worker.stdin.flush()
        result = self._worker.stdout.readline()
        assert result, self.log()
        return json.loads(result)

    def connect(
        self, path: str, *, to: int = 0, headers: dict[str, str] | None = None, **options: Any
    ) -> ClientConnection:
        """Connect directly to one of the processes, with the header of a proxy."""
        added = {"X-Forwarded-Proto": "https"} | (headers or {})
        return open_socket(f"ws://{HOST}{path}", self.ports[to], added, **options)

    def log(self) -> str:
        return (self.service / "program.log").read_text()


@contextmanager
def stack(service: Path, server: str, kind: str) -> Iterator[Stack]:
    """Start everything that a service with two processes needs."""
    folder = service / "redis"
    folder.mkdir(exist_ok=True)
    with redis(folder) as layer, database(service, kind) as database_url, ExitStack() as processes:
        variables = production(database_url, redis_url=layer.url) | {
            "DJANGO_ALLOWED_HOSTS": f"{HOST},127.0.0.1",
            "CORS_ALLOWED_ORIGINS": "https://app.example.com",
        }
        python = service / ".venv/bin/python"
        for command in (["migrate"], ["collectstatic", "--no-input"]):
            run(python, "manage.py", *command, "--verbosity=0", cwd=service, **variables)
        worker = processes.enter_context(started(python, "-c", WORKER, cwd=service, **variables))
        running = Stack(service, server, variables, layer, worker)
        for _number in range(2):
            running.ports.append(processes.enter_context(serving(service, server, variables)))
        yield running


@contextmanager
def nginx(folder: Path, ports: list[int]) -> Iterator[int]:
    """Run the configuration of docs/websockets_production.md, and yield its port.

    Only addresses and paths of files are changed. Two more hosts serve an empty page.
    """
    page = (ROOT / "docs/websockets_production.md").read_text()
    (sample,) = re.findall(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    program, port = needs("nginx"), free_port()
    run(
        *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"],
        *["-keyout", "key.pem", "-out", "certificate.pem", "-subj", f"/CN={HOST}"],
        *["-addext", f"subjectAltName=DNS:{HOST},DNS:*.example.com"],
        cwd=folder,
    )
    for written, here in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/api.example.com.pem": str(folder / "certificate.pem"),
        "/etc/ssl/api.example.com.key": str(folder / "key.pem"),
        "server 127.0.0.1:8000;": "".join(f"server 127.0.0.1:{number};" for number in ports),
    }.items():
        assert sample.count(written) == 1, written
        sample = sample.replace(written, here)
    (folder / "nginx.conf").write_text(NGINX % (sample, port))
    with started(program, "-p", folder, "-c", "nginx.conf", "-e", "nginx-error.log", cwd=folder):
        wait_for_port(port)
        yield port
