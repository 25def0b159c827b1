"""Containers that the tests start by a service's own Compose files, and what stands around them."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiosmtpd
import pytest
from servers import URL_BASE, free_port
from support import OPTIONS, Answers, combinations_of, copy, run

# What decides which containers there are, and what runs in them.
COMBINATIONS = combinations_of(
    {name: OPTIONS[name] for name in ("database", "use_channels", "use_event_sync")}
)

# A server for e-mails. It prints each as one line of JSON.
MAILBOX = """
import json, time
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

class Mailbox(Message):
    def handle_message(self, message):
        (text,) = [part for part in message.walk() if part.get_content_type() == "text/plain"]
        body = text.get_payload(decode=True).decode()
        print(json.dumps({"to": message["To"], "text": body}), flush=True)

Controller(Mailbox(), hostname="0.0.0.0", port=25).start()
time.sleep(3600)
"""


def outside(answers: Answers) -> dict[str, Any]:
    """What a service meets in production: its database, and what else these answers ask for."""
    services: dict[str, Any] = {
        "mail": {
            "image": "python:3.13-slim",
            "command": ["python", "-c", MAILBOX],
            "environment": {"PYTHONPATH": "/packages"},
            "volumes": [f"{Path(aiosmtpd.__file__).parent.parent}:/packages:ro"],
        },
    }
    if answers["database"] == "postgres":
        services["db"] = {
            "image": "postgres:17",
            "environment": {"POSTGRES_PASSWORD": "password"},
        }
    return services


def variables(answers: Answers) -> dict[str, str]:
    """The variables of production, for a service among those of ``outside``."""
    found = {
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        "URL_BASE": URL_BASE,
        "EMAIL_HOST": "mail",
        "EMAIL_PORT": "25",
    }
    if answers["database"] == "postgres":
        found["DATABASE_URL"] = "postgres://postgres:password@db:5432/postgres"
    return found


class Containers:
    """A service in containers, by one of its Compose files."""

    def __init__(self, service: Path, slug: str, *files: str) -> None:
        self.service = service
        self.slug = slug
        self.files = files
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def compose(self, *command: str, **variables: str) -> str:
        """Run a command of Docker Compose, which must succeed; return what it printed."""
        files = [f"--file={file}" for file in self.files]
        return run(
            *["docker", "compose", "--ansi=never", "--progress=plain", *files, *command],
            cwd=self.service,
            **{"PORT": str(self.port)} | variables,
        )

    def up(self, *arguments: str, **variables: str) -> None:
        """Start the services and wait until they are healthy."""
        try:
            self.compose("up", "--detach", "--wait", *arguments, **variables)
        except pytest.fail.Exception as failure:
            logs = self.compose("logs", "--no-color", "--tail=60")
            pytest.fail(f"{failure}\n{logs}", pytrace=False)

    def execute(self, *command: str, service: str = "web") -> str:
        return self.compose("exec", "--no-TTY", service, *command)

    def shell(self, code: str, service: str = "web") -> str:
        """What a piece of Python prints within the service."""
        manage = ["python", "manage.py", "shell", "--verbosity=0", "--command"]
        return self.execute(*manage, code, service=service).strip()

    def printed(self, service: str) -> str:
        """What a service wrote to its standard output."""
        return run("docker", "logs", self.container(service), cwd=self.service)

    def container(self, service: str) -> str:
        """The identifier of the one container of a service, running or not."""
        (identifier,) = self.compose("ps", "--all", "--quiet", service).split()
        return identifier

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=5", "--rmi=local")


class Mailbox:
    """The e-mails that the server of ``outside`` took, one after the other."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._seen = 0

    def read(self, to: str) -> str:
        """Return the text of the next e-mail, which must be for this address."""
        line = wait_until(lambda: self._containers.printed("mail").splitlines()[self._seen :])[0]
        self._seen += 1
        message = json.loads(line)
        assert message["to"] == to
        return str(message["text"])


@contextmanager
def production(template: Path, folder: Path, answers: Answers) -> Iterator[Containers]:
    """The service of docker-compose.yml, not started yet, beside what it meets in production."""
    slug = f"test-{secrets.token_hex(3)}"
    service = copy(template, folder / slug, project_slug=slug, **answers)
    (service / "outside.json").write_text(json.dumps({"services": outside(answers)}))
    lines = [f"{name}={value}\n" for name, value in variables(answers).items()]
    (service / ".env").write_text("".join(lines))
    containers = Containers(service, slug, "docker-compose.yml", "outside.json")
    try:
        yield containers
    finally:
        containers.down()
        run("docker", "image", "rm", "--force", slug, cwd=service)


def wait_until[Found](look: Callable[[], Found], seconds: float = 30) -> Found:
    """Look until there is something to see, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.2)
    return found
