"""The images and containers of production, built and driven."""

import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import COMBINATIONS, Containers, Mailbox, production, wait_until
from servers import URL_BASE
from support import Answers, name_of, run
from walk import Api, walk

pytestmark = pytest.mark.docker

# As a proxy that ends TLS says it.
HTTPS = {"X-Forwarded-Proto": "https"}

# Calls from four threads until the listener is closed, each call on a connection of its own, and
# prints how they ended. It runs on the loopback interface of the server's own container.
LOAD = """
import collections, http.client, json, threading, time

ended = collections.Counter()
started = threading.Event()

def call():
    server = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
    headers = {"Host": "127.0.0.1", "X-Forwarded-Proto": "https", "Connection": "close"}
    try:
        server.connect()
    except ConnectionRefusedError:
        return "refused"
    try:
        server.request("GET", "/api/schema/", headers=headers)
        answer = server.getresponse()
        answer.read()
        return str(answer.status)
    except Exception as error:
        return repr(error)

def client():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        how = call()
        ended[how] += 1
        if how == "refused":
            return
        started.set()

threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads:
    thread.start()
started.wait()
print("started", flush=True)
for thread in threads:
    thread.join()
print(json.dumps(ended))
"""


@pytest.fixture(
    scope="module", params=[pytest.param(answers, id=name_of(answers)) for answers in COMBINATIONS]
)
def running(
    request: pytest.FixtureRequest, template: Path, short_path: Path
) -> Iterator[Containers]:
    """Every service of docker-compose.yml, and what it meets in production."""
    with production(template, short_path, request.param) as containers:
        containers.up("--build")
        yield containers


def test_the_life_of_an_account(running: Containers) -> None:
    walk(Api(running.url, HTTPS), Mailbox(running).read, URL_BASE)


def test_its_settings_leave_nothing_to_say(running: Containers) -> None:
    check = running.execute("python", "manage.py", "check", "--deploy", "--fail-level=INFO")
    assert "no issues (0 silenced)" in check


def test_it_can_change_nothing(running: Containers) -> None:
    assert running.execute("id", "-u").strip() == "10001"
    for path in ("/app/api_core/x", "/opt/venv/x", "/etc/x", "/app/staticfiles/x"):
        with pytest.raises(pytest.fail.Exception, match="Read-only file system"):
            running.execute("touch", path)
    running.execute("touch", "/tmp/x")


def test_no_request_in_flight_is_dropped(running: Containers) -> None:
    container = running.container("web")
    client = ["docker", "run", "--rm", "-i", f"--network=container:{container}"]
    with subprocess.Popen(
        [*client, "python:3.13-slim", "python", "-c", LOAD], stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdout
        assert load.stdout.readline() == "started\n"
        time.sleep(2)
        began = time.monotonic()
        run("docker", "stop", "--time=30", container, cwd=running.service)
        stopped_after = time.monotonic() - began
        ended = json.loads(load.stdout.read())
    running.up("web")
    assert ended.pop("200") > 4
    assert ended == {"refused": 4}
    assert stopped_after < 10


def test_new_containers_find_the_data(running: Containers) -> None:
    create = "from apps.user.models import User; User(email='old@example.com', password='!').save()"
    running.shell(create)
    before = running.container("web")
    running.up("--force-recreate", "--no-deps", "web")
    assert running.container("web") != before
    count = "from apps.user.models import User; print(User.objects.filter(email__startswith='old').count())"
    assert running.shell(count) == "1"
