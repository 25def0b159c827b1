"""HTTP: a generated service, a plain Django project and the limit, behind three servers.

``nox -s bench`` runs it beside an installed service with the default answers, and writes what it
measured to ``docs/performance.md`` and ``docs/images/performance.svg``. What is compared is measured
in turns, so that a noisy machine disturbs all alike.
"""

import asyncio
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

from support.servers import database, production
from websocket_servers import HOST, cpu, free_port, started

SECONDS, ROUNDS = 3, 5
CONNECTIONS, MANY_CONNECTIONS = 8, 64
SERVERS = ("gunicorn", "daphne", "uvicorn")
HEALTH, ME, LOGIN = "/api/v1/health/", "/api/v1/users/me/", "/api/v1/auth/login/"

ROOT = Path(__file__).parent.parent
PAGE, PLOT = ROOT / "docs/performance.md", ROOT / "docs/images/performance.svg"

# Production, for clients that share one address.
BENCH_SETTINGS = """
from api_core.settings.prod import *

for scope in REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]:
    REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"][scope] = "1000000/min"
"""

USER = {
    "email": "bench@example.com",
    "password": "correct horse battery",
    "first_name": "Ana",
    "last_name": "Silva",
    "phone": "+5511961234567",
    "gender": "female",
    "date_of_birth": "1990-01-01",
}
CREATE_USER = f"""
from django.contrib.auth import get_user_model
from django.utils import timezone
user = get_user_model()(**{USER}, email_confirmed_at=timezone.now())
user.set_password(user.password)
user.save()
"""
PRINT_JWT = """
from apps.user.tokens import issue_jwt
print(issue_jwt(user).token)
"""
PRINT_PLAIN_JWT = """
from rest_framework_simplejwt.tokens import AccessToken
jwt = AccessToken.for_user(user)
jwt["exp"] += 86_400
print(jwt)
"""
# The CPU of one verification of a password, in milliseconds.
PRINT_ARGON2 = f"""
import time
from apps.user.models import User
user = User.objects.get()
start = time.process_time()
for _number in range(50):
    user.check_password({USER["password"]!r})
print((time.process_time() - start) / 50 * 1000)
"""


class Server(NamedTuple):
    port: int
    pid: int
    token: str


class Calls(NamedTuple):
    cost: float
    """Milliseconds of the server's CPU for each response."""
    rate: float
    """Responses a second, over all connections."""
    slow: float
    """Milliseconds within which 99 % of the responses came."""


def processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


def request_to(path: str, token: str) -> bytes:
    method, body = ("POST", json.dumps(USER)) if path == LOGIN else ("GET", "")
    head = {
        "Host": HOST,
        "Accept": "*/*",
        "User-Agent": "bench",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "198.18.0.1",
    }
    if path == ME:
        head["Authorization"] = f"Bearer {token}"
    if body:
        head |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


async def client(port: int, request: bytes, until: float) -> list[float]:
    """Call again and again on one connection, and return how long each response took."""
    reader, writer = await asyncio.open_connection(HOST, port)
    latencies = []
    while time.perf_counter() < until:
        start = time.perf_counter()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            sys.exit(f"The server responds with {head}")
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        await reader.readexactly(int(length))
        latencies.append((time.perf_counter() - start) * 1000)
    writer.close()
    return latencies


async def call(server: Server, path: str, connections: int, seconds: float) -> Calls:
    """Call one path of one server for so many seconds. A response other than 200 ends the program."""
    request = request_to(path, server.token)
    pids = processes(server.pid)
    before = sum(map(cpu, pids))
    until = time.perf_counter() + seconds
    clients = [client(server.port, request, until) for _number in range(connections)]
    latencies = sorted(latency for one in await asyncio.gather(*clients) for latency in one)
    return Calls(
        cost=(sum(map(cpu, pids)) - before) / len(latencies) * 1000,
        rate=len(latencies) / seconds,
        slow=latencies[int(len(latencies) * 0.99)],
    )


def median(rounds: list[Calls]) -> Calls:
    return Calls(*map(statistics.median, zip(*rounds, strict=True)))


def manage(folder: Path, python: Path, *arguments: str, **variables: str) -> str:
    return subprocess.run(
        [python, "manage.py", *arguments],
        cwd=folder,
        env=os.environ | variables,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


@contextmanager
def running(folder: Path, settings: str, command: str, **variables: str) -> Iterator[Server]:
    port = free_port()
    variables |= {"DJANGO_SETTINGS_MODULE": settings, "BIND": HOST, "PORT": str(port)}
    words = command.format(port=port).split()
    with started(*words, cwd=folder, port=port, **variables) as pid:
        yield Server(port, pid, "")


@contextmanager
def all_servers(service: Path, plain: Path) -> Iterator[dict[tuple[str, str], Server]]:
    """Start every project behind every server, in one process each."""
    python = service / ".venv/bin/python"
    with database(service, "postgres") as url, ExitStack() as stack:
        variables = production(url) | {
            "PATH": f"{service / '.venv/bin'}:{os.environ['PATH']}",
            "WEB_CONCURRENCY": "1",
            "NUM_PROXIES": "1",
        }
        plain_variables = variables | {"DATABASE_URL": f"{url.rpartition('/')[0]}/plain"}

        (service / "bench_settings.py").write_text(BENCH_SETTINGS)
        manage(service, python, "migrate", "--verbosity=0", **variables)
        token = manage(
            service, python, "shell", "--verbosity=0", "-c", CREATE_USER + PRINT_JWT, **variables
        ).strip()

        create = "from django.db import connection as c; c.cursor().execute('CREATE DATABASE plain')"
        manage(service, python, "shell", "--verbosity=0", "-c", create, **variables)
        plain_variables["DJANGO_SETTINGS_MODULE"] = "plain.settings"
        for command in (["makemigrations", "plain"], ["migrate"]):
            manage(plain, python, *command, "--verbosity=0", **plain_variables)
        plain_token = manage(
            *[plain, python, "shell", "--verbosity=0", "-c", CREATE_USER + PRINT_PLAIN_JWT],
            **plain_variables,
        ).strip()

        plain_commands = {
            "gunicorn": "gunicorn --threads 4 --bind 127.0.0.1:{port} plain.wsgi",
            "daphne": "env POOL=1 daphne --bind 127.0.0.1 --port {port} plain.asgi:application",
            "uvicorn": "env POOL=1 uvicorn --host 127.0.0.1 --port {port} plain.asgi:application",
        }
        servers = {}
        for name in SERVERS:
            started_service = stack.enter_context(
                running(service, "bench_settings", "./start_server.sh", **variables, SERVER=name)
            )
            servers["service", name] = started_service._replace(token=token)
            for project, settings in (("plain", "plain.settings"), ("limit", "plain.limit")):
                started_plain = stack.enter_context(
                    running(plain, settings, plain_commands[name], **plain_variables)
                )
                servers[project, name] = started_plain._replace(token=plain_token)
        yield servers


def main() -> None:
    service = Path(sys.argv[1]).resolve()
    measured = {}
    with tempfile.TemporaryDirectory() as name:
        plain = shutil.copytree(ROOT / "benchmarks/plain", Path(name, "plain"))
        with all_servers(service, plain) as servers:
            for number in range(ROUNDS + 1):
                for path, (key, server) in product((HEALTH, ME), servers.items()):
                    # The first round warms up.
                    calls = asyncio.run(call(server, path, CONNECTIONS, SECONDS if number else 1))
                    if number:
                        measured.setdefault((path, *key), []).append(calls)
    for key, rounds in measured.items():
        print(*key, median(rounds))


if __name__ == "__main__":
    main()
