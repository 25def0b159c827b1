"""Events of a service whose processes are killed: none is lost, and none is sent without its change."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_copier.plugin import CopierFixture
from support import run
from support.servers import database, installed, production, started
from support.sqs import Gate, Sqs, gate, sqs_server
from test_outage import kill_postgres

pytestmark = pytest.mark.servers

# Seconds from SIGTERM to the exit. An idle machine needs less than 10.
PATIENCE = 30

# Creates groups, each with an event, in transactions. Some of them are rolled back, entirely or to a
# savepoint.
PRODUCER = """
import os, random, sys, uuid
import django
django.setup()
from django.contrib.auth.models import Group
from django.db import transaction
from apps.event_sync.managers.producer_msg import ProducerMsg

def produce():
    name = uuid.uuid4().hex
    Group.objects.create(name=name)
    ProducerMsg(
        apps={"target": ["billing"]}, obj_type="group", obj_data={"name": name}, obj_cmd="put"
    ).handle_msg_sync()

class Undone(Exception):
    pass

def undo(block):
    try:
        with transaction.atomic():
            block()
            raise Undone
    except Undone:
        pass

def produce_some():
    for _ in range(random.randint(1, 15)):
        produce()
        if random.random() < 0.1:
            undo(produce)

limit = int(sys.argv[1])
while Group.objects.count() < limit:
    for _ in range(20):
        if random.random() < 0.2:
            undo(produce_some)
        else:
            with transaction.atomic():
                produce_some()
"""

# Moves the clock of a Python process.
SKEW = """
import datetime, time
seconds = {seconds}
real_time = time.time
time.time = lambda: real_time() + seconds
class Skewed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=seconds)
    @classmethod
    def utcnow(cls):
        return cls.now(datetime.UTC).replace(tzinfo=None)
datetime.datetime = Skewed
"""

# Runs the code in each line of its input, and prints the result.
CONSOLE = """
import json, sys
import django
django.setup()
from django.db import connection
for line in sys.stdin:
    names = {}
    exec(json.loads(line), names)
    connection.close()
    print(json.dumps(names.get("result")), flush=True)
"""

READ = """
from apps.event_sync.models import EventSync
events = EventSync.objects.order_by("pk").values_list("pk", "state", "sent")
result = [[pk, state, sent and sent.timestamp()] for pk, state, sent in events]
"""
EXPIRE = """
from django.db.models.functions import Now
from apps.event_sync.models import EventSync
EventSync.objects.filter(state="sending").update(next_attempt_at=Now())
"""
STORE = """
from django.conf import settings
from apps.event_sync.managers.producer_msg import ProducerMsg
settings.EVENT_SYNC_SEND_AT_COMMIT = {at_commit}
for number in range({count}):
    ProducerMsg(apps={{}}, obj_type="invoice", obj_data={{"id": number}}, obj_cmd="put").handle_msg_sync()
"""


class Service:
    """An installed service with its database and its queue."""

    def __init__(self, folder: Path, variables: dict[str, str], sqs: Sqs, opened: Gate) -> None:
        self.folder = folder
        self.variables = variables
        self.sqs = sqs
        self.gate = opened
        self.python = folder / ".venv/bin/python"

    @property
    def queue_url(self) -> str:
        return self.variables["SQS_QUEUE_URL"]

    def use_queue(self, name: str) -> None:
        self.variables["SQS_QUEUE_URL"] = self.sqs.make_queue(name)

    def manage(self, *command: str, **variables: str) -> str:
        return run(
            self.python, "manage.py", *command, cwd=self.folder, **self.variables | variables
        )

    def shell(self, code: str, **variables: str) -> str:
        return self.manage("shell", "--verbosity=0", "-c", code, **variables)

    @contextmanager
    def console(self, **variables: str) -> Iterator[None]:
        """Run a process that executes code for ``ask``, since starting one takes seconds."""
        environment = self.variables | variables
        with started(self.python, "-c", CONSOLE, cwd=self.folder, **environment) as process:
            self._console = process
            yield

    def ask(self, code: str) -> Any:
        """Run code in the service, and return its ``result``."""
        assert self._console.stdin
        assert self._console.stdout
        self._console.stdin.write(json.dumps(code) + "\n")
        self._console.stdin.flush()
        return json.loads(self._console.stdout.readline())

    def store(self, count: int) -> list[int]:
        """Store events without an attempt to send them, and return the ids of all events."""
        self.ask(STORE.format(count=count, at_commit=False))
        return [event[0] for event in self.events()]

    def events(self) -> list[Any]:
        events: list[Any] = self.ask(READ)
        return events

    def states(self) -> Counter[str]:
        return Counter(event[1] for event in self.events())

    def expire_leases(self) -> None:
        self.ask(EXPIRE)

    def start(self, *command: str | Path, **variables: str) -> "subprocess.Popen[str]":
        environment = {"PATH": "/usr/bin:/bin"} | self.variables | variables
        with (self.folder / "program.log").open("a") as log:
            return subprocess.Popen(
                [self.python, *command],
                cwd=self.folder,
                env=environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def relay(self, **variables: str) -> Iterator["subprocess.Popen[str]"]:
        process = self.start("manage.py", "event_sync_relay", **variables)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def received(self) -> list[int]:
        return [body["data"]["obj_data"]["event_id"] for body in self.sqs.take_all(self.queue_url)]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.1)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("postgres", marks=pytest.mark.xdist_group("events-postgres")),
        pytest.param("sqlite", marks=pytest.mark.xdist_group("events-sqlite")),
    ],
)
def folder(request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path) -> Path:
    kind = request.param
    return installed(
        copier,
        short_path / f"{request.module.__name__}-{kind}",
        database=kind,
        use_channels=False,
        use_docker=False,
    )


@pytest.fixture(scope="module")
def kind(folder: Path) -> str:
    return folder.name.rpartition("-")[2]


@pytest.fixture(scope="module")
def stack(folder: Path, kind: str) -> Iterator[Service]:
    with ExitStack() as opened:
        sqs = opened.enter_context(sqs_server(folder))
        variables = {
            **production(opened.enter_context(database(folder, kind))),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        passage = opened.enter_context(gate(sqs))
        variables["AWS_ENDPOINT_URL_SQS"] = passage.address
        service = Service(folder, variables, sqs, passage)
        service.manage("migrate", "--verbosity=0")
        with service.console():
            yield service


@pytest.fixture
def service(stack: Service, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service without events, and an empty queue."""
    stack.use_queue(request.node.originalname.removeprefix("test_")[:60])
    yield stack
    stack.gate.requests_pass.set()
    stack.gate.answers_pass.set()
    stack.gate.held = threading.Semaphore(0)
    stack.ask("from apps.event_sync.models import EventSync as e; e.objects.all().delete()")


def test_an_event_survives_a_kill_between_commit_and_sending(service: Service) -> None:
    service.gate.requests_pass.clear()
    producer = service.start("manage.py", "shell", "-c", STORE.format(count=1, at_commit=True))
    assert service.gate.held.acquire(timeout=60), "no request was sent"
    producer.kill()
    producer.wait()
    assert service.states() == {"sending": 1}
    service.gate.requests_pass.set()
    assert service.received() == []

    service.expire_leases()
    assert service.manage("event_sync_relay", "--once") == "1 sent\n"
    (event,) = service.events()
    assert service.received() == [event[0]]


def test_events_are_sent_again_after_a_kill_before_recording(service: Service) -> None:
    ids = service.store(3)
    service.gate.answers_pass.clear()
    with service.relay():
        assert service.gate.held.acquire(timeout=60), "no request was sent"
    assert service.states() == {"sending": 3}
    service.gate.answers_pass.set()
    assert service.received() == ids
    assert service.manage("event_sync_relay", "--once") == "nothing due\n"

    service.expire_leases()
    assert service.manage("event_sync_relay", "--once") == "3 sent\n"
    assert service.received() == ids, "at least once"
    assert service.states() == {"sent": 3}


def test_two_relays_send_each_event_once(service: Service) -> None:
    with service.relay(), service.relay():
        ids = service.store(400)
        wait_until(lambda: set(service.states()) == {"sent"})
    assert sorted(service.received()) == ids


def test_sigterm_waits_for_responses_to_the_relay(service: Service) -> None:
    ids = service.store(3)
    service.gate.answers_pass.clear()
    with service.relay() as process:
        assert service.gate.held.acquire(timeout=60)
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert process.poll() is None
        service.gate.answers_pass.set()
        assert process.wait(PATIENCE) == 0
    assert service.states() == {"sent": 3}
    assert service.received() == ids


def test_sigterm_gives_up_slow_requests_of_the_relay(service: Service) -> None:
    service.store(60)
    service.gate.requests_pass.clear()
    with service.relay() as process:
        assert service.gate.held.acquire(timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert service.states() == {"pending": 60}
    service.gate.requests_pass.set()
    assert service.received() == []


def test_machines_whose_clocks_differ_send_each_event_once(
    service: Service, tmp_path: Path
) -> None:
    """A wrong clock neither expires nor extends a lease."""
    environments = []
    for name, seconds in {"ahead": 86_400, "behind": -86_400}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "sitecustomize.py").write_text(SKEW.format(seconds=seconds))
        environments.append({"PYTHONPATH": str(tmp_path / name)})
    ids = service.store(40)
    service.gate.answers_pass.clear()
    with service.relay(**environments[0]), service.relay(**environments[1]):
        for _request in range(4):
            assert service.gate.held.acquire(timeout=60)
        service.gate.answers_pass.set()
        wait_until(lambda: set(service.states()) == {"sent"})
        code = STORE.format(count=10, at_commit=False)
        service.shell(code, **environments[0])
        wait_until(lambda: service.states() == {"sent": 50})
    received = service.received()
    assert len(received) == len(set(received)) == 50
    assert set(ids) <= set(received)
    for event in service.events():
        assert abs(event[2] - time.time()) < 3600


@contextmanager
def broken_database(service: Service, kind: str) -> Iterator[None]:
    """Kill PostgreSQL and start it again for the block, or lock the SQLite file before it."""
    if kind == "postgres":
        kill_postgres(service.folder)
        time.sleep(3)
        with database(service.folder, kind):
            yield
        return
    path = service.variables["DATABASE_URL"].removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(8)  # Longer than the 5 seconds that the service waits for a lock.
    yield


def test_the_relay_continues_after_a_database_failure(service: Service, kind: str) -> None:
    service.store(5)
    with service.relay() as process:
        wait_until(lambda: service.states() == {"sent": 5})
        with broken_database(service, kind):
            ids = service.store(20)
            wait_until(lambda: service.states() == {"sent": 25})
            assert process.poll() is None
            assert sorted(service.received()) == ids
    assert "event_sync_outage" in (service.folder / "program.log").read_text()


class Chaos:
    """Runs processes, kills them one after another and starts them again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._processes: list[subprocess.Popen[str]] = []
        self.received: list[str] = []
        self.kills = 0

    def run(self, *command: str, **variables: str) -> None:
        """Run a command until it exits, and start it again whenever it was killed."""

        def work() -> None:
            while not self._stop.is_set():
                process = self._service.start(*command, **variables)
                self._processes.append(process)
                code = process.wait()
                self._processes.remove(process)
                if code != -signal.SIGKILL:
                    assert code == 0
                    return

        self._begin(work)

    def drain(self) -> None:
        """Receive messages in threads, so that the queue stays short."""

        def work() -> None:
            while not self._stop.is_set():
                if not self.take():
                    time.sleep(0.1)

        for _thread in range(3):
            self._begin(work)

    def take(self) -> bool:
        """Receive some messages, and return whether there were any."""
        try:
            bodies = self._service.sqs.take(self._service.queue_url)
        except OSError:
            return False  # The server is too busy. These messages are received later.
        self.received += [body["data"]["obj_data"]["name"] for body in bodies]
        return bool(bodies)

    def kill_one(self) -> None:
        if self._processes:
            random.choice(self._processes).kill()  # noqa: S311 - not a secret
            self.kills += 1

    def stop(self) -> None:
        self._stop.set()
        for process in list(self._processes):
            process.kill()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)


# `nox -s soak` sets a higher number, which takes longer: moto is slow.
EVENTS = int(os.environ.get("EVENTS", "1000"))
KILLS = 20
SECONDS = 600 + EVENTS // 4  # A limit: an idle machine needs a tenth of it.

COUNT = "from django.contrib.auth.models import Group; result = Group.objects.count()"
NAMES = """
from django.contrib.auth.models import Group
result = list(Group.objects.values_list("name", flat=True))
"""


def test_random_kills_neither_lose_nor_invent_events(service: Service) -> None:
    """An event is received if and only if its change was committed."""
    wanted = EVENTS
    service.ask("from django.contrib.auth.models import Group; Group.objects.all().delete()")
    chaos = Chaos(service)
    producer = ("-c", PRODUCER, str(wanted))
    until = time.monotonic() + SECONDS
    try:
        chaos.drain()
        chaos.run(*producer)
        chaos.run(*producer, EVENT_SYNC_SEND_AT_COMMIT="false")
        for _relay in range(2):
            chaos.run("manage.py", "event_sync_relay", "--threads", "1")
        while (count := service.ask(COUNT)) < wanted:
            assert time.monotonic() < until, f"{count} events in {SECONDS} seconds"
            # By progress, not by time, so that a slow machine gets no more kills than a fast one.
            if (count + len(chaos.received)) * KILLS > 2 * wanted * (chaos.kills + 1):
                chaos.kill_one()
            time.sleep(0.1)
    finally:
        chaos.stop()
    assert chaos.kills > KILLS / 3

    service.expire_leases()
    with service.relay():
        wait_until(lambda: set(service.states()) == {"sent"}, SECONDS)
    committed = set(service.ask(NAMES))
    assert len(committed) >= wanted
    wait_until(lambda: not chaos.take() and committed <= set(chaos.received), SECONDS)
    received = chaos.received
    assert set(received) - committed == set(), "sent without its change"
    print(f"{len(committed)} events, {chaos.kills} kills, {len(received) - len(committed)} twice")
