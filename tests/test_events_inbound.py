"""Confirmations from a queue take effect once, even if consumers are killed."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.servers import database
from test_events import PATIENCE, Service, folder, kind, stack, wait_until
from test_outage import kill_postgres

pytestmark = pytest.mark.servers

__all__ = ["folder", "kind", "stack"]

# A slow handler whose effects can be counted. It creates a file when it has begun.
HANDLER = """

@event_handler("slow")
def slow(event: EventSync, obj_data: dict[str, Any]) -> None:
    import time
    from pathlib import Path
    from apps.communication.models import Email
    Email.objects.create(kind=str(event.pk), to="a@example.com", language="en")
    Path(f"begun-{event.pk}").touch()
    time.sleep(obj_data["seconds"])
"""
STORE = """
from apps.event_sync.models import EventSync
rows = [EventSync(obj_type="slow", obj_cmd="put", obj_key=str(n), state="sent") for n in range({count})]
print([event.pk for event in EventSync.objects.bulk_create(rows)])
"""
READ = """
import json
from apps.communication.models import Email
from apps.event_sync.models import EventSync
print(json.dumps({
    "effects": sorted(int(kind) for kind in Email.objects.values_list("kind", flat=True)),
    "processed": sorted(EventSync.objects.exclude(processed=None).values_list("pk", flat=True)),
}))
"""
FORGET = """
from apps.communication.models import Email
from apps.event_sync.models import EventSync
Email.objects.all().delete()
EventSync.objects.all().delete()
"""


class Inbox:
    """The service's inbound queue, and the effects of its messages."""

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.url = service.sqs.make_queue(name)
        service.sqs("SetQueueAttributes", QueueUrl=self.url, Attributes={"VisibilityTimeout": "5"})

    def store(self, count: int) -> list[int]:
        ids: list[int] = json.loads(self.service.shell(STORE.format(count=count)))
        return ids

    def send(self, event_id: int, *, seconds: float = 0) -> None:
        data = {"event_id": event_id, "seconds": seconds}
        body = {"obj_type": "slow", "obj_data": data, "obj_cmd": "put"}
        self.service.sqs("SendMessage", QueueUrl=self.url, MessageBody=json.dumps(body))

    def left(self) -> tuple[int, int]:
        """Return how many messages wait, and how many are hidden."""
        attributes = self.service.sqs(
            "GetQueueAttributes", QueueUrl=self.url, AttributeNames=["All"]
        )["Attributes"]
        waiting = int(attributes["ApproximateNumberOfMessages"])
        return waiting, int(attributes["ApproximateNumberOfMessagesNotVisible"])

    def begun(self, event_id: int) -> bool:
        """Return whether the handler of an event has begun."""
        return (self.service.folder / f"begun-{event_id}").exists()

    def state(self) -> dict[str, list[int]]:
        state: dict[str, list[int]] = json.loads(self.service.shell(READ))
        return state

    @contextmanager
    def consumer(self) -> Iterator["subprocess.Popen[str]"]:
        command = ["manage.py", "event_sync_consume"]
        process = self.service.start(*command, SQS_INBOUND_QUEUE_URL=self.url)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def inbox(stack: Service, request: pytest.FixtureRequest) -> Iterator[Inbox]:
    handlers = stack.folder / "apps/event_sync/handlers.py"
    shipped = handlers.read_text()
    handlers.write_text(shipped + HANDLER)
    yield Inbox(stack, request.node.originalname.removeprefix("test_"))
    stack.shell(FORGET)
    handlers.write_text(shipped)


def test_each_message_has_one_effect_if_consumers_are_killed(inbox: Inbox) -> None:
    ids = inbox.store(120)
    for event_id in random.sample(ids, len(ids)):
        inbox.send(event_id, seconds=0.05)
    with ExitStack() as consumers:
        started = [consumers.enter_context(inbox.consumer()) for _ in range(2)]
        for _kill in range(6):
            time.sleep(2)
            victim = started.pop(0)
            victim.kill()
            started.append(consumers.enter_context(inbox.consumer()))
        wait_until(lambda: inbox.left() == (0, 0), 120)
    assert inbox.state() == {"effects": ids, "processed": ids}


def test_sigterm_ends_a_long_poll_of_the_consumer(inbox: Inbox) -> None:
    (event_id,) = inbox.store(1)
    inbox.send(event_id)
    with inbox.consumer() as process:
        wait_until(lambda: inbox.left() == (0, 0))
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert inbox.state()["processed"] == [event_id]


def test_sigterm_waits_for_the_handler_of_a_message(inbox: Inbox) -> None:
    """The messages that were received with it are received again later."""
    ids = inbox.store(3)
    for event_id in ids:
        inbox.send(event_id, seconds=2)
    with inbox.consumer() as process:
        wait_until(lambda: inbox.begun(ids[0]))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert inbox.state() == {"effects": ids[:1], "processed": ids[:1]}
    wait_until(lambda: inbox.left() == (2, 0))


def test_a_killed_handler_has_no_effect(inbox: Inbox) -> None:
    """Its writes are rolled back, and its message is received again."""
    (event_id,) = inbox.store(1)
    inbox.send(event_id, seconds=600)
    with inbox.consumer() as process:
        wait_until(lambda: inbox.begun(event_id))
        process.send_signal(signal.SIGTERM)
    assert inbox.state() == {"effects": [], "processed": []}
    wait_until(lambda: inbox.left() == (1, 0))


def test_the_consumer_continues_after_a_database_restart(inbox: Inbox, kind: str) -> None:
    if kind == "sqlite":
        return  # It is a file.
    ids = inbox.store(30)
    with inbox.consumer() as process:
        inbox.send(ids[0])
        wait_until(lambda: inbox.left() == (0, 0))
        kill_postgres(inbox.service.folder)
        for event_id in ids[1:]:
            inbox.send(event_id)
        time.sleep(3)
        with database(inbox.service.folder, kind):
            # One batch at most was not handled. It is received again after the visibility timeout.
            wait_until(lambda: inbox.left() == (0, 0))
            assert process.poll() is None
            assert inbox.state() == {"effects": ids, "processed": ids}
