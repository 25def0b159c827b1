"""A service with production settings behind a real server, for tests/reports."""

import json
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from itertools import count
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from support import run
from support.servers import database, free_port, production, started, wait_for
from support.walk import Api

# Requests can come from different networks, so that tests do not share rate limits.
_networks = count(1)

# A process of the service that runs the code it reads and prints ``result`` as JSON.
_SHELL = """
import json, sys
import django

django.setup()
for line in sys.stdin:
    names = {}
    exec(json.loads(line), names)
    print(json.dumps(names.get("result")), flush=True)
"""


class Mailboxes(MessageHandler):
    """Keeps the e-mails that an SMTP server receives, by recipient."""

    def __init__(self) -> None:
        super().__init__()
        self.received: defaultdict[str, list[Message]] = defaultdict(list)

    def handle_message(self, message: Message) -> None:
        self.received[message["To"]].append(message)

    def read(self, to: str, number: int = 1) -> str:
        """Wait for the recipient's e-mail with this number, and return its plain text."""
        deadline = time.monotonic() + 60
        while len(self.received[to]) < number:
            assert time.monotonic() < deadline, f"{to} has received {len(self.received[to])}"
            time.sleep(0.05)
        message = self.received[to][number - 1]
        (text,) = [part for part in message.walk() if part.get_content_type() == "text/plain"]
        payload = text.get_payload(decode=True)
        assert isinstance(payload, bytes)
        return payload.decode()


@contextmanager
def smtp_server() -> Iterator[tuple[int, Mailboxes]]:
    """Run an SMTP server, and yield its port and the e-mails that it receives."""
    mailboxes = Mailboxes()
    controller = Controller(mailboxes, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port, mailboxes
    finally:
        controller.stop()


@dataclass
class Service:
    """An installed service with a database, a mail server and a worker, all running."""

    folder: Path
    variables: dict[str, str]
    mailboxes: Mailboxes
    _shell: subprocess.Popen[str] = field(repr=False)

    def shell(self, code: str) -> Any:
        """Run code in a process of the service and return its ``result``."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(json.dumps(code) + "\n")
        self._shell.stdin.flush()
        answer = self._shell.stdout.readline()
        assert answer, (self.folder / "program.log").read_text()[-5000:]
        return json.loads(answer)

    def manage(self, *arguments: str, **variables: str) -> str:
        python = self.folder / ".venv/bin/python"
        return run(python, "manage.py", *arguments, cwd=self.folder, **self.variables | variables)


@dataclass
class Server:
    """A web server of a service on a loopback port, as behind a proxy that terminates TLS."""

    name: str
    service: Service
    port: int
    pid: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def client_address() -> str:
        """Return an address that no other test uses, so that tests do not share rate limits."""
        number = next(_networks)
        return f"198.18.{number // 256}.{number % 256}"

    def api(self, token: str = "") -> Api:
        """Return a client with an address of its own."""
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": self.client_address()}
        api = Api(self.url, headers)
        api.token = token
        return api

    def raw(self, request: bytes, *, timeout: float = 20) -> bytes:
        """Send these bytes on a new connection, and return everything that the server sends."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(request)
            received = bytearray()
            while data := connection.recv(65_536):
                received += data
        return bytes(received)

    def request(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, str]:
        """Send a request as a proxy forwards it, and return the response's status and body."""
        number = next(_networks)
        lines = [
            f"{line} HTTP/1.1",
            "Host: 127.0.0.1",
            "X-Forwarded-Proto: https",
            f"X-Forwarded-For: 198.18.{number // 256}.{number % 256}",
            "Connection: close",
            *headers,
        ]
        if "Transfer-Encoding: chunked" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        received = self.raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body, timeout=5)
        head, _blank_line, text = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), text.decode(errors="replace")

    def log(self) -> str:
        """Return everything that the service's processes have logged until now."""
        return (self.service.folder / "program.log").read_text()


@contextmanager
def running_service(folder: Path, kind: str, **variables: str) -> Iterator[Service]:
    """Prepare an installed service for production, and start all that it needs but a web server."""
    python = folder / ".venv/bin/python"
    with ExitStack() as stack:
        database_url = stack.enter_context(database(folder, kind))
        smtp_port, mailboxes = stack.enter_context(smtp_server())
        settings = production(database_url, smtp_port) | {"NUM_PROXIES": "1"} | variables
        for command in (["migrate"], ["collectstatic", "--no-input"]):
            run(python, "manage.py", *command, "--verbosity=0", cwd=folder, **settings)
        stack.enter_context(started(python, "manage.py", "db_worker", cwd=folder, **settings))
        shell = stack.enter_context(started(python, "-c", _SHELL, cwd=folder, **settings))
        yield Service(folder, settings, mailboxes, shell)


@contextmanager
def serving(service: Service, name: str, *, prefix: str = "", **variables: str) -> Iterator[Server]:
    """Start a web server of a running service with its own script."""
    server = Server(name, service, free_port())
    own = {"BIND": "127.0.0.1", "PORT": str(server.port), "SERVER": name, "WEB_CONCURRENCY": "1"}
    environment = service.variables | own | variables
    with started("./start_server.sh", cwd=service.folder, **environment) as process:
        server.pid = process.pid
        wait_for(f"{server.url}{prefix}/api/v1/health/")
        yield server
