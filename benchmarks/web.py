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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

from plot import bars
from support.servers import database, production
from websocket_servers import HOST, cpu, free_port, started

SECONDS, ROUNDS = 3, 5
CONNECTIONS, MANY_CONNECTIONS = 8, 64
MANY_REQUESTS = 10_000
HEALTH, ME, LOGIN = "/api/v1/health/", "/api/v1/users/me/", "/api/v1/auth/login/"

SERVICE, PLAIN, LIMIT = "the service", "plain project", "limit"
# The documented commands of the servers. Under ASGI, with a pool: see plain/settings.py.
PLAIN_COMMANDS = {
    "gunicorn": "gunicorn --threads 4 --bind 127.0.0.1:{port} plain.wsgi",
    "daphne": "env POOL=1 daphne --bind 127.0.0.1 --port {port} plain.asgi:application",
    "uvicorn": "env POOL=1 uvicorn --host 127.0.0.1 --port {port} plain.asgi:application",
}

ROOT = Path(__file__).parent.parent
PAGE, PLOT = ROOT / "docs/performance.md", ROOT / "docs/images/performance.svg"

# Production, for clients that share one address and one user.
BENCH_SETTINGS = """
from api_core.settings.prod import *

API_SESSIONS_PER_USER = 1_000_000
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
from apps.user.tests.factories import make_token
print(make_token(user))
"""
PRINT_PLAIN_JWT = """
from rest_framework_simplejwt.tokens import AccessToken
jwt = AccessToken.for_user(user)
jwt["exp"] += 86_400
print(jwt)
"""
CREATE_DATABASE = """
from django.db import connection
connection.cursor().execute("CREATE DATABASE plain")
"""
# The CPU of one verification of a password, in milliseconds, with the parameters of the service.
PRINT_ARGON2 = """
import threading, time
from argon2 import PasswordHasher
hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
encoded = hasher.hash("correct horse battery")
def verify():
    start = time.process_time()
    for _number in range(50):
        hasher.verify(encoded, "correct horse battery")
    print((time.process_time() - start) / 50 * 1000)
# In a thread, as in a server: there, each verification gets its memory from the kernel.
threading.Thread(target=verify).start()
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


async def client(port: int, request: bytes, more: Callable[[], bool]) -> list[float]:
    """Call as long as there is more to do, and return how long each response took, in ms."""
    reader, writer = await asyncio.open_connection(HOST, port)
    latencies = []
    while more():
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


async def call(
    server: Server, path: str, connections: int, seconds: float = 600, requests: int = 10**9
) -> Calls:
    """Call a path for so long or so often. A response other than 200 ends the program."""
    request = request_to(path, server.token)
    pids = processes(server.pid)
    before, start, numbers = sum(map(cpu, pids)), time.perf_counter(), iter(range(requests))

    def more() -> bool:
        return time.perf_counter() - start < seconds and next(numbers, None) is not None

    clients = [client(server.port, request, more) for _number in range(connections)]
    latencies = sorted(latency for one in await asyncio.gather(*clients) for latency in one)
    return Calls(
        cost=(sum(map(cpu, pids)) - before) / len(latencies) * 1000,
        rate=len(latencies) / (time.perf_counter() - start),
        slow=latencies[int(len(latencies) * 0.99)],
    )


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
def running(folder: Path, command: str, variables: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Run a server during the block: its port and its process."""
    port = free_port()
    words = command.format(port=port).split()
    own = variables | {"BIND": HOST, "PORT": str(port)}
    with started(*words, cwd=folder, port=port, **own) as pid:
        yield port, pid


def prepare(folder: Path, python: Path, variables: dict[str, str], print_jwt: str) -> str:
    """Create the tables and the user of a project, and return the user's JWT."""
    manage(folder, python, "migrate", "--verbosity=0", **variables)
    shell = ["shell", "--verbosity=0", "--command"]
    return manage(folder, python, *shell, CREATE_USER + print_jwt, **variables).strip()


@contextmanager
def all_servers(service: Path, plain: Path) -> Iterator[dict[tuple[str, str], Server]]:
    """Run each project behind each server, in one process each, as projects and servers' names."""
    python = service / ".venv/bin/python"
    (service / "bench_settings.py").write_text(BENCH_SETTINGS)
    with database(service, "postgres") as url, ExitStack() as stack:
        ours = production(url) | {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "DJANGO_SETTINGS_MODULE": "bench_settings",
            "WEB_CONCURRENCY": "1",
            "NUM_PROXIES": "1",
        }
        theirs = ours | {
            "DJANGO_SETTINGS_MODULE": "plain.settings",
            "DATABASE_URL": f"{url.rpartition('/')[0]}/plain",
        }
        jwt = prepare(service, python, ours, PRINT_JWT)
        manage(service, python, "shell", "--verbosity=0", "--command", CREATE_DATABASE, **ours)
        manage(plain, python, "makemigrations", "plain", "--verbosity=0", **theirs)
        plain_jwt = prepare(plain, python, theirs, PRINT_PLAIN_JWT)

        limit = theirs | {"DJANGO_SETTINGS_MODULE": "plain.limit"}
        servers = {}
        for name, command in PLAIN_COMMANDS.items():
            own = ours | {"SERVER": name}
            if name == "gunicorn":
                own["WEB_THREADS"] = "4"  # as many as the plain project has
            for key, token, run in (
                (SERVICE, jwt, running(service, "./start_server.sh", own)),
                (PLAIN, plain_jwt, running(plain, command, theirs)),
                (LIMIT, plain_jwt, running(plain, command, limit)),
            ):
                servers[key, name] = Server(*stack.enter_context(run), token)
        yield servers


def measure(servers: dict[tuple[str, str], Server]) -> dict[tuple[str, str, str], Calls]:
    """Return medians for each path, project and server."""
    measured: dict[tuple[str, str, str], list[Calls]] = {}
    for number in range(ROUNDS + 1):
        for path, (key, server) in product((HEALTH, ME), servers.items()):
            # The first round warms up.
            calls = asyncio.run(call(server, path, CONNECTIONS, SECONDS if number else 1))
            if number:
                measured.setdefault((path, *key), []).append(calls)
    return {
        key: Calls(*map(statistics.median, zip(*rounds, strict=True)))
        for key, rounds in measured.items()
    }


def machine() -> str:
    """Name the machine that this runs on."""
    information = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", information)
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} logical cores,"
        f" {platform.system()}, Python {platform.python_version()}"
    )


def report(
    measured: dict[tuple[str, str, str], Calls],
    many: dict[tuple[str, str], Calls],
    logins: dict[str, Calls],
    argon2: float,
) -> str:
    """Return the tables of the page."""
    lines = [f"Measured on {time.strftime('%Y-%m-%d')}: {machine()}.", ""]
    for path in (ME, HEALTH):
        lines += [
            f"| `{path}` | CPU, ms | of the plain project's | requests/s per core |",
            "|---|---|---|---|",
        ]
        for (project, name), calls in per_path(measured, path).items():
            ratio = calls.cost / measured[path, PLAIN, name].cost
            lines.append(
                f"| {project}, {name} | {calls.cost:.2f} | {ratio:.2f} | {1000 / calls.cost:.0f} |"
            )
        lines.append("")
    lines += [
        f"| {MANY_REQUESTS:,} requests, {MANY_CONNECTIONS} at once | per second | p99, ms | errors |",
        "|---|---|---|---|",
        *(
            f"| `{path}`, {name} | {calls.rate:.0f} | {calls.slow:.0f} | 0 |"
            for (path, name), calls in many.items()
        ),
        "",
        "| Login | CPU ms | more than Argon2id alone |",
        "|---|---|---|",
        f"| one verification with Argon2id | {argon2:.1f} | |",
        *(
            f"| `{LOGIN}`, {name} | {calls.cost:.1f} | {calls.cost - argon2:.1f} |"
            for name, calls in logins.items()
        ),
    ]
    return "\n".join(lines)


def per_path(
    measured: dict[tuple[str, str, str], Calls], path: str
) -> dict[tuple[str, str], Calls]:
    return {(project, name): calls for (of, project, name), calls in measured.items() if of == path}


def plot(measured: dict[tuple[str, str, str], Calls]) -> str:
    groups: dict[str, dict[str, float]] = {}
    for (project, name), calls in per_path(measured, ME).items():
        groups.setdefault(name, {})[project] = calls.cost
    return bars(f"CPU of the server for each GET {ME}", "ms", groups)


def write_section(name: str, text: str) -> None:
    """Print the tables, and write them to their section of the page."""
    print(text)
    head, start, rest = PAGE.read_text().partition(f"<!-- benchmarks/{name}.py -->\n")
    _old, end, tail = rest.partition("<!-- end -->\n")
    PAGE.write_text(f"{head}{start}\n{text}\n\n{end}{tail}")


def main() -> None:
    service = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        plain = shutil.copytree(ROOT / "benchmarks/plain", Path(name, "plain"))
        with all_servers(service, plain) as servers:
            measured = measure(servers)
            many, logins = {}, {}
            for server_name in PLAIN_COMMANDS:
                server = servers[SERVICE, server_name]
                for path in (HEALTH, ME):
                    many[path, server_name] = asyncio.run(
                        call(server, path, MANY_CONNECTIONS, requests=MANY_REQUESTS)
                    )
                # The first login in each thread gets its memory from the kernel.
                asyncio.run(call(server, LOGIN, 1, requests=50))
                logins[server_name] = asyncio.run(call(server, LOGIN, 1, SECONDS))
            argon2 = float(
                subprocess.run(
                    [service / ".venv/bin/python", "-c", PRINT_ARGON2],
                    check=True,
                    stdout=subprocess.PIPE,
                ).stdout
            )
    text = report(measured, many, logins, argon2)
    write_section("web", text)
    PLOT.write_text(plot(measured))


if __name__ == "__main__":
    main()
