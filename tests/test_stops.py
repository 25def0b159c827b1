"""A server that is told to stop fails no request and resets no connection."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from servers import database, free_port, installed, production, wait_for
from support import run

# They share one service.
pytestmark = pytest.mark.xdist_group("stops")

# Each process calls on a connection of its own each time, until it is refused.
LOAD = """
import collections, http.client, json, sys

def call(port, path):
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        server.connect()
    except ConnectionRefusedError:
        return "refused"
    try:
        headers = {"X-Forwarded-Proto": "https", "Connection": "close"}
        server.request("GET", path, headers=headers)
        answer = server.getresponse()
        answer.read()
        return str(answer.status)
    except Exception as error:
        return repr(error)
    finally:
        server.close()

ended = collections.Counter()
while "refused" not in ended and ended.total() < 100_000:
    ended[call(int(sys.argv[1]), sys.argv[2])] += 1
print(json.dumps(ended))
"""


# What the clients ask for: two for what is answered at once, two for what keeps a server busy.
PATHS = ["/api/v1/health/", "/api/v1/health/", "/api/schema/", "/api/schema/"]

# How often each server is stopped: what it would lose, it loses once in a while.
STOPS = 2


@pytest.fixture(scope="module")
def service(template: Path, short_path: Path) -> Path:
    return installed(template, short_path / "service", use_channels=True)


@pytest.fixture(scope="module")
def variables(service: Path) -> Iterator[dict[str, str]]:
    with database(service, "postgres") as url:
        variables = production(url)
        for command in ("migrate", "collectstatic"):
            run(service / ".venv/bin/python", "manage.py", command, cwd=service, **variables)
        yield variables


@contextmanager
def called(port: int) -> Iterator[Counter[str]]:
    """Some clients call until they are refused; after the block it is known how the calls ended."""
    ended: Counter[str] = Counter()
    client = [sys.executable, "-c", LOAD, str(port)]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen([*client, path], stdout=subprocess.PIPE, text=True)
            )
            for path in PATHS
        ]
        yield ended
        for process in clients:
            ended.update(json.loads(process.communicate(timeout=60)[0]))


@pytest.mark.parametrize(
    ("server", "processes"),
    [("gunicorn", 1), ("gunicorn", 2), ("daphne", 1), ("uvicorn", 1), ("uvicorn", 2)],
)
def test_a_stop_under_load(
    service: Path, variables: dict[str, str], server: str, processes: int
) -> None:
    ended: Counter[str] = Counter()
    for _time in range(STOPS):
        port = free_port()
        own = {"SERVER": server, "WEB_CONCURRENCY": str(processes), "PORT": str(port)}
        command = [service / "start_server.sh"]
        environment = os.environ | variables | {"BIND": "127.0.0.1"} | own
        with (
            (service / "server.log").open("a") as log,
            subprocess.Popen(
                command, cwd=service, env=environment, stdout=log, stderr=log
            ) as process,
        ):
            try:
                wait_for(f"http://127.0.0.1:{port}/api/v1/health/")
                with called(port) as calls:
                    time.sleep(1)
                    began = time.monotonic()
                    process.terminate()
                    process.wait(20)
                    assert time.monotonic() - began < 10
            finally:
                process.kill()
        # uvicorn ends as by the signal itself.
        assert process.returncode in {0, -signal.SIGTERM}
        ended += calls
    assert ended.pop("200") > len(PATHS) * STOPS
    assert ended == {"refused": len(PATHS) * STOPS}
