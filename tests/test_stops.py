"""A server that stops answers the requests in flight, after readiness has turned 503."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from servers import database, free_port, installed, production, wait_for
from support import run

# They share one service.
pytestmark = pytest.mark.xdist_group("stops")

# What a load balancer does: it sends requests, each on a new connection, while readiness is 200.
LOAD = """
import collections, http.client, json, sys

def call(path):
    server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
    try:
        headers = {"X-Forwarded-Proto": "https", "Connection": "close"}
        server.request("GET", path, headers=headers)
        response = server.getresponse()
        response.read()
        return str(response.status)
    except Exception as error:
        return repr(error)
    finally:
        server.close()

results = collections.Counter()
while results.total() < 100_000:
    ready = call("/api/v1/health/ready/")
    if ready != "200":
        results["readiness " + ready] += 1
        break
    results[call(sys.argv[2])] += 1
print(json.dumps(results))
"""

# One client calls a view that responds at once, the others one that keeps a server busy.
PATHS = ["/api/v1/health/", "/api/schema/", "/api/schema/"]

# A request that takes longer than the server has left when it begins.
SLOW_SECONDS = 3
SLOW_URLS = f"""
import time

from django.http import HttpResponse
from django.urls import path

def slow(request):
    time.sleep({SLOW_SECONDS})
    return HttpResponse(b"x" * 1_000_000)

urlpatterns = [path("slow/", slow)]
"""

PAUSE_SECONDS = 2

# Faults of a stop do not show every time.
STOPS = 2


@pytest.fixture(scope="module")
def service(template: Path, short_path: Path) -> Path:
    folder = installed(template, short_path / "service", use_channels=True)
    (folder / "apps/api/urls_v2.py").write_text(SLOW_URLS)
    return folder


@pytest.fixture(scope="module")
def variables(service: Path) -> Iterator[dict[str, str]]:
    with database(service, "postgres") as url:
        variables = production(url)
        for command in ("migrate", "collectstatic"):
            run(service / ".venv/bin/python", "manage.py", command, cwd=service, **variables)
        yield variables


@contextmanager
def load(port: int) -> Iterator[Counter[str]]:
    """Send requests during the block and until readiness fails; then fill in the results."""
    results: Counter[str] = Counter()
    client = [sys.executable, "-c", LOAD, str(port)]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen([*client, path], stdout=subprocess.PIPE, text=True)
            )
            for path in PATHS
        ]
        yield results
        for process in clients:
            results.update(json.loads(process.communicate(timeout=60)[0]))


@contextmanager
def serving(
    service: Path, command: list[str], port: int, variables: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        (service / "server.log").open("a") as log,
        subprocess.Popen(
            command, cwd=service, env=os.environ | variables, stdout=log, stderr=log
        ) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/api/v1/health/")
            yield process
        finally:
            process.terminate()


def slow_response(port: int) -> tuple[int, int]:
    """Return the status and the size of the response to a slow request."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as server:
        server.request("GET", "/api/v2/slow/", headers={"X-Forwarded-Proto": "https"})
        response = server.getresponse()
        return response.status, len(response.read())


@pytest.mark.parametrize(
    ("server", "processes"),
    [("gunicorn", 1), ("gunicorn", 2), ("daphne", 1), ("uvicorn", 1), ("uvicorn", 2)],
)
def test_a_client_that_honours_readiness_sees_no_failure_during_a_stop(
    service: Path, variables: dict[str, str], server: str, processes: int
) -> None:
    results: Counter[str] = Counter()
    for _time in range(STOPS):
        port = free_port()
        own = {
            "SERVER": server,
            "WEB_CONCURRENCY": str(processes),
            "BIND": "127.0.0.1",
            "PORT": str(port),
            "STOP_PAUSE": str(PAUSE_SECONDS),
        }
        with (
            serving(service, ["./start_server.sh"], port, variables | own) as process,
            ThreadPoolExecutor() as pool,
            load(port) as stop_results,
        ):
            time.sleep(1)
            began = time.monotonic()
            process.terminate()
            # When the server itself is told to stop, they are in flight.
            time.sleep(PAUSE_SECONDS / 2)
            in_flight = [pool.submit(slow_response, port) for _ in range(4)]
            assert [call.result() for call in in_flight] == [(200, 1_000_000)] * 4
            process.wait(20)
            assert time.monotonic() - began < PAUSE_SECONDS + SLOW_SECONDS + 5
        # uvicorn ends with the signal that it has handled.
        assert process.returncode in {0, 128 + signal.SIGTERM}
        results += stop_results
    assert results.pop("200") > len(PATHS) * STOPS
    assert results == {"readiness 503": len(PATHS) * STOPS}


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn --bind 127.0.0.1:{port} api_core.wsgi",
        "daphne -b 127.0.0.1 -p {port} api_core.asgi:application",
        "uvicorn api_core.asgi:application --host 127.0.0.1 --port {port}",
    ],
)
def test_a_server_started_without_the_script_answers_the_requests_in_flight(
    service: Path, variables: dict[str, str], command: str
) -> None:
    port = free_port()
    words = f".venv/bin/{command.format(port=port)}".split()
    with serving(service, words, port, variables) as process, ThreadPoolExecutor() as pool:
        in_flight = [pool.submit(slow_response, port) for _ in range(4)]
        time.sleep(SLOW_SECONDS / 2)
        process.terminate()
        assert [call.result() for call in in_flight] == [(200, 1_000_000)] * 4
        assert process.wait(20) in {0, -signal.SIGTERM}
