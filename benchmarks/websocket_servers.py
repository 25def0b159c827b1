"""WebSockets: the service behind Daphne and uvicorn, beside a bare echo of ``websockets``.

Runs beside a generated service, by ``nox -s bench``. What is compared is measured in turns, so that
a noisy machine disturbs all alike. The client speaks to plain sockets, to cost less than any server.
"""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"
CONNECTIONS, SECONDS, ROUNDS = 50, 3, 5
IDLE_CONNECTIONS = 500
FLOOD_BYTES, FLOOD_MESSAGE, FLOOD_PATIENCE = 210_000_000, 16_384, 5

# 64 bytes of text, as a client sends them (under a mask of zeros) and as a server does.
TEXT = b"x" * 64
SENT, RETURNED = b"\x81\xc0\0\0\0\0" + TEXT, b"\x81\x40" + TEXT

BARE_ECHO = """
import asyncio, sys
from websockets.asyncio.server import serve

async def echo(connection):
    async for message in connection:
        await connection.send(message)

async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()

asyncio.run(main())
"""

CREATE_USERS = """
from django.utils import timezone
from apps.user.models import User
from apps.user.tests.factories import make_token
for number in range(60):
    user = User(email=f"bench{number}@example.com", email_confirmed_at=timezone.now())
    user.set_unusable_password()
    user.save()
    print(make_token(user))
"""


# What a browser offers: compression, which costs memory where the server takes it.
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

SETTINGS, LIMITED_SETTINGS = "bench_settings", "api_core.settings.dev"
WITHOUT_LIMITS = """
from api_core.settings.dev import *

WEBSOCKET_ECHO_NEEDS_USER = True
WEBSOCKET_MESSAGES = 10**9
WEBSOCKET_CONNECTION_BYTES = 10**15
"""

WITH_PLAIN_ECHO = """
from api_core.service_asgi import application as service
from channels.generic.websocket import AsyncWebsocketConsumer

class PlainEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)

plain = PlainEcho.as_asgi()

async def application(scope, receive, send):
    is_plain = scope["type"] == "websocket" and scope["path"] == "/ws/plain/"
    await (plain if is_plain else service)(scope, receive, send)
"""


class Server(NamedTuple):
    name: str
    port: int
    pid: int
    path: str
    headers: Sequence[str] = ("",)
    """Those of one user after the other."""

    def handshake(self, number: int = 0, extra: str = "") -> bytes:
        """The request that opens a connection (RFC 6455, section 4.1)."""
        headers = self.headers[number % len(self.headers)]
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}{extra}\r\n"
        ).encode()


class Echoes(asyncio.Protocol):
    """One connection with one message under way: it sends the next when the last came back."""

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.number = number
        self.opened = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.running = False
        self._received = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(self.server.handshake(self.number))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.opened.done():
            head, blank, rest = self._received.partition(b"\r\n\r\n")
            if blank:
                self._received = rest
                self.opened.set_result(head.split(b"\r\n")[0])
        elif len(self._received) >= len(RETURNED):
            if self._received != RETURNED:
                sys.exit(f"{self.server.name} answers {self._received[:100]!r}")
            self._received = b""
            self.latencies.append(time.perf_counter() - self._sent)
            if self.running:
                self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def send(self) -> None:
        self._sent = time.perf_counter()
        self.transport.write(SENT)


class Echo(NamedTuple):
    rate: float
    """Messages a second, over all connections."""
    slow: float
    """Seconds within which 99 % of the messages came back."""
    cost: float
    """Seconds of the server's CPU for a message, which a busy machine changes least."""


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def echo(server: Server) -> Echo:
    """Measure one server for a while."""
    loop = asyncio.get_running_loop()
    clients = []
    for number in range(CONNECTIONS):
        _, client = await loop.create_connection(partial(Echoes, server, number), HOST, server.port)
        status = await asyncio.wait_for(client.opened, 20)
        if b" 101 " not in status:
            sys.exit(f"{server.name} refuses: {status!r}")
        clients.append(client)
    cpu_before = cpu(server.pid)
    for client in clients:
        client.running = True
        client.send()
    await asyncio.sleep(SECONDS)
    for client in clients:
        client.running = False
    used = cpu(server.pid) - cpu_before
    latencies = sorted(latency for client in clients for latency in client.latencies)
    await asyncio.sleep(0.5)
    for client in clients:
        if client.lost.done():
            sys.exit(f"{server.name} closed a connection")
        client.transport.abort()
    await asyncio.wait([client.lost for client in clients], timeout=5)
    return Echo(
        rate=len(latencies) / SECONDS,
        slow=latencies[int(len(latencies) * 0.99)],
        cost=used / len(latencies),
    )


def memory(pid: int, line: str = "VmRSS") -> int:
    """Bytes of memory that a process holds, or ever held (``VmHWM``)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(row.split()[1]) * 1024 for row in status.splitlines() if line in row)


def opened(server: Server, number: int = 0, extra: str = "") -> socket.socket:
    connection = socket.create_connection((HOST, server.port), timeout=20)
    connection.sendall(server.handshake(number, extra))
    status = connection.recv(4096)
    if b" 101 " not in status:
        sys.exit(f"{server.name} refuses: {status[:100]!r}")
    return connection


def idle(server: Server, extra: str = "") -> float:
    """Bytes for each of many connections that sent one message and then say nothing."""
    # The first ones pay for what is loaded once.
    with ExitStack() as warm:
        for number in range(20):
            warm.enter_context(opened(server, number, extra)).sendall(SENT)
        time.sleep(1)
    time.sleep(1)
    before = memory(server.pid)
    with ExitStack() as connections:
        for number in range(IDLE_CONNECTIONS):
            connections.enter_context(opened(server, number, extra)).sendall(SENT)
        time.sleep(2)
        each = (memory(server.pid) - before) / IDLE_CONNECTIONS
    time.sleep(2)
    return each


def flood(server: Server) -> tuple[int, int, str]:
    """A client that sends and never reads: bytes taken from it, memory's growth, and the end."""
    length = FLOOD_MESSAGE.to_bytes(2)
    message = b"\x81\xfe" + length + b"\0\0\0\0" + b"x" * FLOOD_MESSAGE
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # VmHWM counts from here
    before = memory(server.pid)
    taken, end = 0, "took all"
    with opened(server) as connection:
        connection.settimeout(FLOOD_PATIENCE)
        try:
            while taken < FLOOD_BYTES:
                connection.sendall(message)
                taken += len(message)
        except TimeoutError:
            end = "made it wait"
        except OSError:
            end = "hung up"
        time.sleep(1)
        return taken, memory(server.pid, "VmHWM") - before, end


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def started(*command: str | Path, cwd: Path, port: int, **variables: str) -> Iterator[int]:
    """Run a server until the block ends: its process id, once it listens."""
    with (cwd / "bench.log").open("a") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        for _attempt in range(1200):
            if process.poll() is not None:
                sys.exit((cwd / "bench.log").read_text()[-2000:])
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def bare() -> Iterator[Server]:
    """Start the echo of ``websockets``, in this program's own environment."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as name,
        started(sys.executable, "-c", BARE_ECHO, str(port), cwd=Path(name), port=port) as pid,
    ):
        yield Server("websockets", port, pid, "/")


@contextmanager
def service(folder: Path, kind: str, settings: str = SETTINGS) -> Iterator[Server]:
    """Start the service in one process, behind one of its servers."""
    port = free_port()
    variables = {
        "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}",
        "BIND": HOST,
        "PORT": str(port),
        "SERVER": kind,
        "WEB_CONCURRENCY": "1",
        "DJANGO_SETTINGS_MODULE": settings,
        "DJANGO_LOG_LEVEL": "ERROR",
        "DJANGO_DEBUG": "false",
    }
    with started("./start_server.sh", cwd=folder, port=port, **variables) as pid:
        urllib.request.urlopen(f"http://{HOST}:{port}/api/v1/health/", timeout=20).close()
        yield Server(kind, port, pid, "/ws/plain/")


def prepare(folder: Path) -> list[str]:
    """Give the service a plain consumer beside its own, and users: their headers."""
    (folder / "api_core/asgi.py").rename(folder / "api_core/service_asgi.py")
    (folder / "api_core/asgi.py").write_text(WITH_PLAIN_ECHO)
    (folder / f"{SETTINGS}.py").write_text(WITHOUT_LIMITS)
    command = [str(folder / ".venv/bin/python"), "manage.py"]
    subprocess.run([*command, "migrate", "--verbosity=0"], cwd=folder, check=True)
    shell = [*command, "shell", "--verbosity=0", "-c", CREATE_USERS]
    tokens = subprocess.run(shell, cwd=folder, check=True, capture_output=True, text=True).stdout
    return [f"Authorization: Bearer {token}\r\n" for token in tokens.split()]


def compare_echoes(folder: Path, credentials: list[str]) -> None:
    """Measure every server's echo in turns."""
    with ExitStack() as running:
        servers = {"websockets, bare": running.enter_context(bare())}
        for kind in ("daphne", "uvicorn"):
            plain = running.enter_context(service(folder, kind))
            servers[f"{kind}, plain consumer"] = plain
            servers[f"{kind}, ws/echo/"] = plain._replace(path="/ws/echo/", headers=credentials)
        measured: dict[str, list[Echo]] = {name: [] for name in servers}
        for _round in range(ROUNDS):
            for name, server in servers.items():
                measured[name].append(asyncio.run(echo(server)))

    print(f"Echo of 64 bytes on {CONNECTIONS} connections, medians of {ROUNDS} rounds")
    costs = {}
    for name, rounds in measured.items():
        rate, slow, cost = map(statistics.median, zip(*rounds, strict=True))
        costs[name] = cost
        print(
            f"  {name:<24} {rate:8.0f} messages/s, 99 % within {slow * 1000:5.1f} ms,"
            f" {cost * 1e6:4.0f} µs of CPU each"
        )
    for kind in ("daphne", "uvicorn"):
        ratio = costs[f"{kind}, ws/echo/"] / costs[f"{kind}, plain consumer"]
        print(f"  {kind}: ws/echo/ costs {ratio:.2f} of the plain consumer's CPU")


def compare_memory(folder: Path, credentials: list[str]) -> None:
    """Measure idle connections, as a browser opens them, and a client that never reads."""

    @contextmanager
    def echo_of(kind: str, settings: str) -> Iterator[Server]:
        with service(folder, kind, settings) as server:
            yield server._replace(path="/ws/echo/", headers=credentials)

    print(f"Memory for each of {IDLE_CONNECTIONS} idle connections")
    starts: dict[str, Callable[[], AbstractContextManager[Server]]] = {
        "websockets, bare": bare,
        "daphne": partial(echo_of, "daphne", SETTINGS),
        "uvicorn": partial(echo_of, "uvicorn", SETTINGS),
    }
    for name, start in starts.items():
        with start() as server:
            print(f"  {name:<24} {idle(server, DEFLATE) / 1024:8.1f} KiB")

    print("A client that sends 210 MB of 16 KB messages and reads nothing")
    starts |= {
        "daphne, with its limits": partial(echo_of, "daphne", LIMITED_SETTINGS),
        "uvicorn, with its limits": partial(echo_of, "uvicorn", LIMITED_SETTINGS),
    }
    for name, start in starts.items():
        with start() as server:
            taken, grown, end = flood(server)
        print(f"  {name:<24} {end}: {taken / 1e6:.0f} MB sent, memory +{grown / 1e6:.0f} MB")


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    credentials = prepare(folder)
    compare_echoes(folder, credentials)
    compare_memory(folder, credentials)


if __name__ == "__main__":
    main()
