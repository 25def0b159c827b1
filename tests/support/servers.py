"""Start and stop a service in production, and its database."""

import os
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from filelock import FileLock
from pytest_copier.plugin import CopierFixture

from support import SERVICE_PYTHON, UV, run

URL_BASE = "https://api.example.com"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def started(*command: str | Path, cwd: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program during the block. If it exits early, the test fails with its output."""
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
        process.communicate(timeout=60)


@contextmanager
def database(service: Path, kind: str) -> Iterator[str]:
    """Start an empty database, and yield its URL."""
    if kind == "sqlite":
        yield f"sqlite:///{service / 'production.sqlite3'}"
        return
    folder = service / ".postgres"
    command = [str(service / ".venv/bin/python"), "-m", "common.embedded_postgres.server"]
    # It stops when its standard input is closed.
    with subprocess.Popen(
        [*command, str(folder)], cwd=service, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"[")
        yield f"postgres://postgres@{quote(str(folder), safe='')}/postgres"


def wait_for(url: str) -> None:
    for _attempt in range(600):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer")


def installed(copier: CopierFixture, folder: Path, **answers: Any) -> Path:
    """Return a new service with its packages installed, and without a .env."""
    service = copier.copy(folder, **answers).path
    (service / ".env").unlink()
    (service / ".venv").symlink_to(environment(service / "requirements-dev.txt"))
    return service


def environment(lock: Path) -> Path:
    """Return the environment with the packages of a lock, which all workers share.

    Tests must not install anything in it.
    """
    name = sha256(lock.read_bytes()).hexdigest()[:8]
    folder = Path(os.environ["ENVIRONMENTS"], name)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            run(UV, "venv", "--quiet", "--python", SERVICE_PYTHON, folder, cwd=lock.parent)
            run(UV, "pip", "sync", "--quiet", "--python", folder, lock, cwd=lock.parent)
    return folder


def production(
    database_url: str, smtp_port: int = 25, redis_url: str = "redis://127.0.0.1:1/0"
) -> dict[str, str]:
    """Return variables of production for a service on the loopback interface."""
    return {
        "DJANGO_SETTINGS_MODULE": "api_core.settings.prod",
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        "DATABASE_URL": database_url,
        "URL_BASE": URL_BASE,
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": str(smtp_port),
        "REDIS_URL": redis_url,
        "WEB_CONCURRENCY": "2",
        # Nothing listens at this address, so events stay in the table.
        "SQS_QUEUE_URL": "http://127.0.0.1:9/123456789012/events",
        "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9",
    }


@contextmanager
def served(service: Path, variables: dict[str, str]) -> Iterator[str]:
    """Migrate a service, start it with its own script, and yield its URL."""
    programs = service / ".venv/bin"
    run(programs / "python", "manage.py", "migrate", cwd=service, **variables)
    run(programs / "python", "manage.py", "collectstatic", cwd=service, **variables)
    listen = {"BIND": "127.0.0.1", "PORT": str(free_port())}
    with started(service / "start_server.sh", cwd=service, **variables, **listen):
        url = f"http://127.0.0.1:{listen['PORT']}"
        wait_for(f"{url}/api/v1/health/")
        yield url
