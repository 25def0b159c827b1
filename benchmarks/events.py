"""Compare the outbox with sending each event within its request.

Runs inside a generated service, by ``nox -s bench``, with a database of its own. SQS is a
stand-in that takes the same time for each request, and then moto's server. What is compared
runs in turns in one process, so that a noisy machine disturbs all alike; medians of the rounds.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ |= {
    "DJANGO_SETTINGS_MODULE": "api_core.settings.dev",
    "DJANGO_LOG_LEVEL": "ERROR",
    "DJANGO_DEBUG": "false",
    "EVENT_SYNC_SEND_AT_COMMIT": "false",
    "APP_KEY": "benchmark",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
}

import boto3
import django

django.setup()

from apps.event_sync.inbound.queue import Consumer
from apps.event_sync.managers.producer_msg import ProducerMsg
from apps.event_sync.models import EventSync
from apps.event_sync.outgoing import outbox
from apps.event_sync.outgoing.answer import Answer
from apps.event_sync.outgoing.messages import envelope
from apps.event_sync.outgoing.relay import Relay
from common.sqs.sqs_sync import create_client, sqs_client
from common.stopping import Stop
from django.conf import settings
from django.db import transaction
from django.test.utils import get_runner
from django.utils import timezone
from rest_framework.test import APIClient

ROUNDS = 3
NAIVE, STORED, RELAYED = 20, 100, 2_000
INBOUND, PUSHED = 300, 100
CLAIMED = 500
# Numbers of pending events and objects, and the size of a claim of a relay with one thread.
BACKLOGS, OBJECTS, CLAIMS, CLAIM = (1_000, 10_000, 100_000), (1, 10_000), 12, 80
MEMORY_EVENTS, MEMORY_STEP = 100_000, 10_000
MOTO_EVENTS = 200

type Rates = dict[str, list[float]]


# What is measured


def naive(count: int) -> None:
    """Send within the request with a new client, as the design that this replaces did."""
    for number in range(count):
        event = EventSync.objects.create(**fields(number))
        client = boto3.client("sqs", region_name=settings.AWS_DEFAULT_REGION)
        client.send_message(
            QueueUrl=settings.SQS_QUEUE_URL, MessageBody=json.dumps(envelope(event))
        )
        event.state, event.sent = EventSync.State.SENT, timezone.now()
        event.save()


def store(count: int) -> None:
    """Store events for the relay, as a request does."""
    for number in range(count):
        with transaction.atomic():
            event = fields(number)
            event.pop("obj_key")
            ProducerMsg(**event).handle_msg_sync()


def relay(count: int, *, threads: int) -> None:
    started = Relay(settings.SQS_QUEUE_URL, Stop(), threads=threads)
    started.run(until_empty=True)
    if started.counts["sent"] != count:
        sys.exit(f"The relay sent {started.counts}, not {count}")


def save_each(count: int) -> None:
    """Claim by reading the rows and saving each of them."""
    for _batch in range(0, count, 100):
        due = EventSync.objects.filter(state=EventSync.State.PENDING).order_by("id")[:100]
        for event in due:
            event.state, event.lease = EventSync.State.SENDING, uuid.uuid4().hex
            event.next_attempt_at = timezone.now()
            event.save()


def claim(count: int) -> None:
    for _batch in range(0, count, 100):
        if len(outbox.claim(100)) != 100:
            sys.exit("Fewer events were claimed than expected.")


def push(bodies: list[str]) -> None:
    client = APIClient(headers={"Authorization": "Token benchmark"})
    for body in bodies:
        if (
            client.generic("POST", "/api/v1/event-sync/", body, "application/json").status_code
            != 200
        ):
            sys.exit("A confirmation was refused.")


def pull(count: int) -> None:
    outcomes = Consumer(settings.SQS_QUEUE_URL, Stop(), long_poll=0).run(until_empty=True)
    if outcomes != {"processed": count}:
        sys.exit(f"The consumer handled {outcomes}, not {count}")


# How


def fields(number: int, objects: int = sys.maxsize) -> dict[str, object]:
    return {
        "apps": {"target": ["billing", "crm"]},
        "obj_type": "test_event_sync",
        "obj_data": {"id": number, "name": "An invoice of some length", "total": "9.90"},
        "obj_cmd": "put",
        "obj_key": f"test_event_sync:{number % objects}",
    }


def fill(
    count: int, state: str = EventSync.State.PENDING, *, objects: int = sys.maxsize
) -> list[EventSync]:
    """Replace the events in the table by ``count`` events of a number of objects."""
    EventSync.objects.all().delete()
    rows = [EventSync(**fields(number, objects), state=state) for number in range(count)]
    return EventSync.objects.bulk_create(rows, batch_size=1_000)


def confirmations(count: int) -> list[str]:
    """Return the confirmations of so many events."""
    return [json.dumps(envelope(event)["data"]) for event in fill(count, EventSync.State.SENT)]


def rate(count: int, work: Callable[[], object]) -> float:
    """Return the number for each second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


@contextmanager
def sqs(*command: str) -> Iterator[str]:
    """Run a program that prints its address, and let boto3 use that address during the block."""
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip()
        os.environ["AWS_ENDPOINT_URL_SQS"] = address
        settings.SQS_QUEUE_URL = f"{address}/123456789012/events"
        create_client.cache_clear()
        yield address
    finally:
        process.kill()
        process.wait()


MOTO = """
import logging, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
logging.getLogger("werkzeug").disabled = True
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""


@contextmanager
def drained(queue_url: str) -> Iterator[None]:
    """Keep moto's queue short: each request to send reads all messages in it."""
    over = threading.Event()
    client = sqs_client()

    def drain() -> None:
        while not over.is_set():
            answer = client.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
            entries = [
                {"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]}
                for message in answer.get("Messages", [])
            ]
            if entries:
                client.delete_message_batch(QueueUrl=queue_url, Entries=entries)
            else:
                time.sleep(0.05)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def against_the_naive_way() -> Rates:
    rates: Rates = {}
    for _round in range(ROUNDS):
        EventSync.objects.all().delete()
        note(rates, "sent within the request", rate(NAIVE, lambda: naive(NAIVE)))
        for threads in (1, 8):
            fill(RELAYED)
            note(
                rates,
                f"relay, {threads} thread{'s'[: threads - 1]}",
                rate(RELAYED, lambda threads=threads: relay(RELAYED, threads=threads)),
            )
    return rates


def on_moto() -> Rates:
    rates: Rates = {}
    settings.SQS_QUEUE_URL = sqs_client().create_queue(QueueName="events")["QueueUrl"]
    with drained(settings.SQS_QUEUE_URL):
        for _round in range(ROUNDS):
            EventSync.objects.all().delete()
            note(rates, "sent within the request", rate(NAIVE, lambda: naive(NAIVE)))
            fill(MOTO_EVENTS)
            note(rates, "relay, 1 thread", rate(MOTO_EVENTS, lambda: relay(MOTO_EVENTS, threads=1)))
    return rates


def storing_and_claiming() -> tuple[Rates, Rates]:
    stored: Rates = {}
    claimed: Rates = {}
    for _round in range(ROUNDS):
        EventSync.objects.all().delete()
        note(stored, "stored for the relay", rate(STORED, lambda: store(STORED)))
        for name, work in {"save() of each row": save_each, "one claim of 100": claim}.items():
            fill(CLAIMED)
            note(claimed, name, rate(CLAIMED, lambda work=work: work(CLAIMED)))
    return stored, claimed


def claims_by_backlog() -> None:
    """Print the cost of a claim for a FIFO queue by the number of pending events and objects."""
    vendor = outbox.outbox_connection().vendor
    print(f"Milliseconds of a claim and of recording its events as sent, {vendor}")
    print("    pending  objects   events   median     max   recording")
    for objects in OBJECTS:
        for pending in BACKLOGS:
            fill(pending, objects=objects)
            claimed, claims, records = [], [], []
            for _claim in range(CLAIMS):
                start = time.perf_counter()
                events = outbox.claim(CLAIM, in_order=True)
                claims.append(1_000 * (time.perf_counter() - start))
                claimed.append(len(events))
                if not events:
                    continue
                answer = Answer(accepted={event.pk: "1" for event in events})
                start = time.perf_counter()
                outbox.record(events, answer, in_order=True)
                records.append(1_000 * (time.perf_counter() - start))
            print(
                f"  {pending:>9,} {min(objects, pending):>8,} {max(claimed):>8,}"
                f" {statistics.median(claims):>8.1f} {max(claims):>7.1f}"
                f" {statistics.median(records):>11.1f}"
            )


def in_order() -> Rates:
    rates: Rates = {}
    settings.SQS_QUEUE_URL += ".fifo"
    for _round in range(ROUNDS):
        for name, objects in {
            "an object each": RELAYED,
            "10 of each object": RELAYED // 10,
        }.items():
            fill(RELAYED, objects=objects)
            note(rates, name, rate(RELAYED, lambda: relay(RELAYED, threads=8)))
        fill(RELAYED, objects=1)
        note(rates, "one object", rate(RELAYED, lambda: relay(RELAYED, threads=8)))
    return rates


def inbound(milliseconds: str) -> Rates:
    rates: Rates = {}
    for _round in range(ROUNDS):
        if milliseconds == "0":
            bodies = confirmations(PUSHED)
            note(rates, "pushed, one client", rate(PUSHED, lambda bodies=bodies: push(bodies)))
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("\n".join(confirmations(INBOUND)))
            file.flush()
            with sqs("sqs_stub.py", milliseconds, file.name):
                note(rates, "pulled, one consumer", rate(INBOUND, lambda: pull(INBOUND)))
    return rates


def memory() -> list[tuple[int, float]]:
    """Return the memory of this process in MiB after numbers of events sent by one relay."""
    held = []
    for sent in range(MEMORY_STEP, MEMORY_EVENTS + 1, MEMORY_STEP):
        fill(MEMORY_STEP)
        relay(MEMORY_STEP, threads=4)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held.append((sent, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))
    return held


def note(rates: Rates, name: str, value: float) -> None:
    rates.setdefault(name, []).append(value)


def show(title: str, rates: Rates) -> None:
    """Print events a second, and the ratio to the first line."""
    print(title)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:<26} {median:>9,.0f}  {median / first:>6.1f}x")


def measure() -> None:
    for milliseconds in ("0", "10"):
        with sqs("sqs_stub.py", milliseconds):
            show(
                f"Events sent in a second, SQS answering in {milliseconds} ms",
                against_the_naive_way(),
            )
    with sqs("-c", MOTO):
        show("Events sent in a second, moto's server", on_moto())
    stored, claimed = storing_and_claiming()
    show("Events stored in a second", stored)
    show("Events claimed in a second", claimed)
    for milliseconds in ("0", "10"):
        with sqs("sqs_stub.py", milliseconds):
            show(
                f"Events sent in order (FIFO) in a second, SQS answering in {milliseconds} ms",
                in_order(),
            )
    claims_by_backlog()
    for milliseconds in ("0", "10"):
        show(
            f"Confirmations processed in a second, SQS answering in {milliseconds} ms",
            inbound(milliseconds),
        )
    print("MiB of the relay's process after so many events")
    with sqs("sqs_stub.py", "0"):
        for sent, held in memory():
            print(f"  {sent:>7,} {held:6.1f}")


def main() -> None:
    runner = get_runner(settings)(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    try:
        claims_by_backlog() if "--claims" in sys.argv else measure()
    finally:
        runner.teardown_databases(databases)
    if "--claims" not in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            database = {"DATABASE_URL": f"sqlite:///{folder}/claims.sqlite3"}
            subprocess.run(
                [sys.executable, __file__, "--claims"], env=os.environ | database, check=True
            )


if __name__ == "__main__":
    main()
