"""How the servers stop: requests in flight are answered, and readiness turns 503 before that."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import run
from support.servers import database, free_port, installed, production, wait_for

# They share one service.
pytestmark = pytest.mark.xdist_group("stops")

# A client behind a load balancer: it sends requests, each on a new connection, while the server is
# ready. It stops when readiness says that the server is stopping.
LOAD = """
import collections, http.client, json, sys

def get(port, path):
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        server.request("GET", path, headers={"X-Forwarded-Proto": "https", "Connection": "close"})
        response = server.getresponse()
        return response.status, response.read()
    except Exception as error:
        return repr(error), b""
    finally:
        server.close()

port, path = int(sys.argv[1]), sys.argv[2]
responses = collections.Counter()
while responses.total() < 100_000:
    status, body = get(port, "/api/v1/health/ready/")
    if b"stopping" in body:
        break
    responses[get(port, path)[0]] += 1
print(json.dumps(responses))
"""

# Fast responses, and slow ones that keep the server busy.
PATHS = ["/api/v1/health/", "/api/v1/health/", "/api/schema/", "/api/schema/"]

SERVERS = [("gunicorn", 1), ("gunicorn", 2), ("daphne", 1), ("uvicorn", 1), ("uvicorn", 2)]


@pytest.fixture(scope="module")
def service(copier: CopierFixture, short_path: Path) -> Path:
    return installed(copier, short_path / "service", use_channels=True)


@pytest.fixture(scope="module")
def variables(service: Path) -> Iterator[dict[str, str]]:
    with database(service, "postgres") as url:
        variables = production(url)
        for command in ("migrate", "collectstatic"):
            run(service / ".venv/bin/python", "manage.py", command, cwd=service, **variables)
        yield variables


@contextmanager
def served(
    service: Path, variables: dict[str, str], server: str, processes: int, pause: int
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Start a server, and yield its port and process."""
    port = free_port()
    own = {"SERVER": server, "WEB_CONCURRENCY": str(processes), "PORT": str(port)}
    own |= {"BIND": "127.0.0.1", "STOP_PAUSE": str(pause)}
    with (
        (service / "server.log").open("a") as log,
        subprocess.Popen(
            [service / "start_server.sh"],
            cwd=service,
            env=os.environ | variables | own,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/api/v1/health/")
            yield port, process
        finally:
            process.kill()


@pytest.mark.parametrize(("server", "processes"), SERVERS)
def test_a_stop_behind_a_load_balancer_fails_no_request(
    service: Path, variables: dict[str, str], server: str, processes: int
) -> None:
    with served(service, variables, server, processes, pause=2) as (port, process):
        clients = [
            subprocess.Popen(
                [sys.executable, "-c", LOAD, str(port), path], stdout=subprocess.PIPE, text=True
            )
            for path in PATHS
        ]
        time.sleep(1)
        process.terminate()
        responses: Counter[str] = Counter()
        for client in clients:
            responses.update(json.loads(client.communicate(timeout=60)[0]))
        process.wait(30)
    # uvicorn ends by the signal itself.
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert responses.keys() == {"200"}
    assert responses["200"] > len(PATHS)


@pytest.mark.parametrize(("server", "processes"), SERVERS)
def test_a_stop_answers_the_requests_in_flight(
    service: Path, variables: dict[str, str], server: str, processes: int
) -> None:
    with served(service, variables, server, processes, pause=0) as (port, process):
        clients = [HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(4)]
        for client in clients:
            client.request("GET", "/api/schema/", headers={"X-Forwarded-Proto": "https"})
        # Each is in a thread of the server by now. The schema takes longer than this.
        time.sleep(0.2)
        process.terminate()
        assert [client.getresponse().status for client in clients] == [200] * 4
        for client in clients:
            client.close()
        process.wait(30)
    assert process.returncode in {0, -signal.SIGTERM}
