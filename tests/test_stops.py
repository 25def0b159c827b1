"""How the servers answer and stop: streams, `async def` views, and requests in flight."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import run
from support.servers import database, free_port, installed, production, wait_for

# They share one service.
pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("stops")]

# A load balancer: four clients send requests, each on a new connection, until readiness is not 200.
LOAD = """
import collections, http.client, json, sys, threading, time

def get(path):
    server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
    try:
        server.request("GET", path, headers={"X-Forwarded-Proto": "https", "Connection": "close"})
        response = server.getresponse()
        response.read()
        return response.status
    except Exception as error:
        return repr(error)
    finally:
        server.close()

responses = collections.Counter()
not_ready = threading.Event()

def client(path):
    while not not_ready.is_set():
        responses[get(path)] += 1

clients = [threading.Thread(target=client, args=(path,)) for path in sys.argv[2:]]
for thread in clients:
    thread.start()
print(get("/api/v1/health/ready/"), flush=True)
while (readiness := get("/api/v1/health/ready/")) == 200:
    time.sleep(0.1)
not_ready.set()
for thread in clients:
    thread.join()
print(json.dumps([readiness, responses]))
"""

# Fast responses, and slow ones that keep the server busy.
PATHS = ["/api/v1/health/", "/api/v1/health/", "/api/schema/", "/api/schema/"]

URLS = """
import asyncio
import threading
import time

from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from structlog import get_logger

released = threading.Event()

def slow(request):
    time.sleep(3)
    return HttpResponse(b"x" * 1_000_000)

@csrf_exempt
async def asynchronous(request):
    await asyncio.sleep(0)
    return JsonResponse({"address": request.META["REMOTE_ADDR"], "size": len(request.body)})

def stream(request):
    def content():
        yield b"first"
        released.wait(30)
        yield b"second"
    return StreamingHttpResponse(content())

def release(request):
    released.set()
    return HttpResponse()

def endless(request):
    def content():
        try:
            while True:
                yield b"x" * 1000
                time.sleep(0.01)
        finally:
            get_logger(__name__).info("endless_stream_closed")
    return StreamingHttpResponse(content())

views = [slow, asynchronous, stream, release, endless]
urlpatterns = [path(f"{view.__name__}/", view) for view in views]
"""

SERVERS = [("gunicorn", 1), ("gunicorn", 2), ("daphne", 1), ("uvicorn", 1), ("uvicorn", 2)]


@pytest.fixture(scope="module")
def service(copier: CopierFixture, short_path: Path) -> Path:
    folder = installed(copier, short_path / "service", use_channels=True)
    (folder / "apps/api/urls_v2.py").write_text(URLS)
    return folder


@pytest.fixture(scope="module")
def variables(service: Path) -> Iterator[dict[str, str]]:
    with database(service, "postgres") as url:
        variables = production(url)
        for command in ("migrate", "collectstatic"):
            run(service / ".venv/bin/python", "manage.py", command, cwd=service, **variables)
        yield variables


@contextmanager
def running(
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


@contextmanager
def served(
    service: Path, variables: dict[str, str], server: str, processes: int, pause: int
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """Start a server with the service's script, and yield its port and process."""
    port = free_port()
    own = {"SERVER": server, "WEB_CONCURRENCY": str(processes), "PORT": str(port)}
    own |= {"BIND": "127.0.0.1", "STOP_PAUSE": str(pause)}
    with running(service, ["./start_server.sh"], port, variables | own) as process:
        yield port, process


@pytest.mark.parametrize(("server", "processes"), SERVERS)
def test_a_stop_behind_a_load_balancer_fails_no_request(
    service: Path, variables: dict[str, str], server: str, processes: int
) -> None:
    with served(service, variables, server, processes, pause=5) as (port, process):
        client = [sys.executable, "-c", LOAD, str(port), *PATHS]
        with subprocess.Popen(client, stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout
            assert load.stdout.readline() == "200\n"
            process.terminate()
            readiness, responses = json.loads(load.communicate(timeout=60)[0])
        process.wait(30)
    # uvicorn raises the signal again after its shutdown.
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert readiness == 503
    assert responses.keys() == {"200"}
    assert responses["200"] > len(PATHS)


def get_slow(port: int) -> tuple[int, int]:
    """Return the status and the size of the response to a slow request."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as server:
        server.request("GET", "/api/v2/slow/", headers={"X-Forwarded-Proto": "https"})
        response = server.getresponse()
        return response.status, len(response.read())


def stop_during_slow_requests(port: int, process: "subprocess.Popen[bytes]") -> None:
    with ThreadPoolExecutor() as pool:
        requests = [pool.submit(get_slow, port) for _ in range(4)]
        time.sleep(1)
        process.terminate()
        assert [request.result() for request in requests] == [(200, 1_000_000)] * 4
    process.wait(30)


@pytest.mark.parametrize(("server", "processes"), SERVERS)
def test_a_stop_answers_the_requests_in_flight(
    service: Path, variables: dict[str, str], server: str, processes: int
) -> None:
    with served(service, variables, server, processes, pause=0) as (port, process):
        stop_during_slow_requests(port, process)
    assert process.returncode in {0, -signal.SIGTERM}


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn --bind 127.0.0.1:{port} api_core.wsgi",
        "daphne -b 127.0.0.1 -p {port} api_core.asgi:application",
        "uvicorn api_core.asgi:application --host 127.0.0.1 --port {port}",
    ],
)
def test_a_server_without_the_script_answers_the_requests_in_flight(
    service: Path, variables: dict[str, str], command: str
) -> None:
    port = free_port()
    words = f".venv/bin/{command.format(port=port)}".split()
    with running(service, words, port, variables) as process:
        stop_during_slow_requests(port, process)
    assert process.returncode in {0, -signal.SIGTERM}


@pytest.fixture(params=["gunicorn", "daphne", "uvicorn", "runserver"])
def port(service: Path, variables: dict[str, str], request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of each server, and of that of development."""
    if request.param != "runserver":
        with served(service, variables, request.param, 1, pause=0) as (port, _process):
            yield port
        return
    port = free_port()
    command = [".venv/bin/python", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    development = variables | {"DJANGO_SETTINGS_MODULE": "api_core.settings.dev"}
    with running(service, command, port, development):
        yield port


def logged(service: Path, position: int, text: str) -> list[str]:
    """Return the lines with this text that were logged from a position on, once there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = (service / "server.log").read_text()[position:].splitlines()
        if found := [line for line in lines if text in line]:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{text} is not in the log")


def test_every_server_runs_async_views_and_streams(service: Path, port: int) -> None:
    position = len((service / "server.log").read_text())
    headers = {"X-Forwarded-Proto": "https"}
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as server:
        server.request("PUT", "/api/v2/asynchronous/", body=b"x" * 100_000, headers=headers)
        assert json.load(server.getresponse()) == {"address": "127.0.0.1", "size": 100_000}
        server.request("GET", "/api/v2/stream/", headers=headers)
        response = server.getresponse()
        assert response.read(5) == b"first"
        with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as other:
            other.request("GET", "/api/v2/release/", headers=headers)
            assert other.getresponse().status == 200
        assert response.read() == b"second"
    (line,) = logged(service, position, "/api/v2/asynchronous/")
    assert "request_finished" in line
    assert "request_id" in line

    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as server:
        server.request("GET", "/api/v2/endless/", headers=headers)
        assert server.getresponse().read(1000) == b"x" * 1000
    logged(service, position, "endless_stream_closed")
