"""Event sync in situations that other teams reported, with moto's server."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pytest_copier.plugin import CopierFixture
from support.live import Server, Service, running_service, serving
from support.servers import installed
from support.sqs import Sqs, sqs_server
from support.walk import Api

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("event_reports")]

APP_KEY = "An-unguessable-key-of-32-characters!"

TWO_DATABASES = """
from api_core.settings.prod import *

DATABASES["events"] = {**DATABASES["default"], "NAME": "NAME_OF_EVENTS"}
DATABASE_ROUTERS = ["api_core.events_router.EventsRouter"]
"""
ROUTER = """
class EventsRouter:
    def db_for_read(self, model, **hints):
        return "events" if model._meta.app_label == "event_sync" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (app_label == "event_sync") == (db == "events")
"""
# Writes to the default database, and then fails if it is told to.
HANDLER = """

@event_handler("greeting")
def greet(event: EventSync, obj_data: dict[str, Any]) -> None:
    from django.contrib.auth.models import Group
    Group.objects.create(name=f"greeting {event.pk}")
    if "fault" in obj_data:
        raise LookupError(obj_data["fault"])
"""
PRODUCE = """
from apps.event_sync.managers.producer_msg import ProducerMsg
events = [
    ProducerMsg(apps={{}}, obj_type="greeting", obj_data={data}, obj_cmd="put").handle_msg_sync()
    for _ in range({count})
]
result = [event.pk for event in events]
"""
GROUPS = """
from django.contrib.auth.models import Group
result = list(Group.objects.filter(name__startswith="greeting").values_list("name", flat=True))
"""
CLEAR = """
from django.contrib.auth.models import Group
from apps.event_sync.models import EventSync
Group.objects.all().delete()
EventSync.objects.all().delete()
"""


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def folder(request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path) -> Path:
    kind = request.param
    folder = installed(
        copier,
        short_path / f"event-reports-{kind}",
        database=kind,
        use_channels=False,
        use_docker=False,
    )
    name = "events" if kind == "postgres" else str(folder / "events.sqlite3")
    settings = folder / "api_core/settings/two_databases.py"
    settings.write_text(TWO_DATABASES.replace("NAME_OF_EVENTS", name))
    (folder / "api_core/events_router.py").write_text(ROUTER)
    with (folder / "apps/event_sync/handlers.py").open("a") as handlers:
        handlers.write(HANDLER)
    return folder


@pytest.fixture(scope="module")
def sqs(folder: Path) -> Iterator[Sqs]:
    with sqs_server(folder) as server:
        yield server


@pytest.fixture(scope="module")
def running(folder: Path, sqs: Sqs) -> Iterator[Service]:
    kind = folder.name.rpartition("-")[2]
    variables = {
        "AWS_ENDPOINT_URL_SQS": sqs.address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SQS_QUEUE_URL": sqs.make_queue("reports.fifo"),
        "SQS_INBOUND_QUEUE_URL": sqs.make_queue("reports-inbound"),
        "EVENT_SYNC_SEND_AT_COMMIT": "false",
    }
    with running_service(folder, kind, **variables) as service:
        yield service


@pytest.fixture
def service(running: Service, sqs: Sqs) -> Service:
    """The service without events in its database and its queue."""
    running.shell(CLEAR)
    sqs.take_all(running.variables["SQS_QUEUE_URL"])
    return running


def sent_ids(service: Service, sqs: Sqs) -> list[int]:
    bodies = sqs.take_all(service.variables["SQS_QUEUE_URL"])
    return [body["data"]["obj_data"]["event_id"] for body in bodies]


def test_a_backlog_of_one_object_is_sent_in_order(service: Service, sqs: Sqs) -> None:
    """https://github.com/timgit/pg-boss/pull/849: the cost of a claim was quadratic in the number of events of a key."""
    ids = service.shell(PRODUCE.format(data={"id": 1}, count=200))
    assert service.manage("event_sync_relay", "--once") == "200 sent\n"
    assert sent_ids(service, sqs) == ids


def test_events_without_an_id_do_not_wait_for_a_dead_one(service: Service, sqs: Sqs) -> None:
    """https://github.com/timgit/pg-boss/pull/849, and the example of our documentation."""
    ids = service.shell(PRODUCE.format(data={"name": "Ana"}, count=20))
    service.shell(
        "from apps.event_sync.models import EventSync\n"
        f"EventSync.objects.filter(pk={ids[0]}).update(state='dead', next_attempt_at=None)"
    )
    assert service.manage("event_sync_relay", "--once") == "19 sent\n"
    assert sorted(sent_ids(service, sqs)) == ids[1:]


def test_events_from_an_older_release_are_sent_in_order(service: Service, sqs: Sqs) -> None:
    """In older releases, the object of events without an id was their type."""
    ids = service.shell(PRODUCE.format(data={}, count=30))
    service.shell(
        "from apps.event_sync.models import EventSync\nEventSync.objects.update(obj_key='greeting')"
    )
    assert service.manage("event_sync_relay", "--once") == "30 sent\n"
    assert sent_ids(service, sqs) == ids


def test_the_region_is_that_of_the_queue(service: Service) -> None:
    """https://github.com/danvk/mapsnap/pull/436 and
    https://github.com/aws/aws-node-termination-handler/issues/390.
    """
    urls = [
        f"https://{host}/123456789012/nowhere"
        for host in ("sqs.eu-west-1.amazonaws.com", "queue.example.com")
    ]
    code = (
        "from common.sqs.sqs_sync import sqs_client\n"
        f"print(*[sqs_client(url).meta.region_name for url in {urls}])"
    )
    shell = ("shell", "--verbosity=0", "-c", code)
    assert service.manage(*shell) == "eu-west-1 us-east-1\n"
    assert service.manage(*shell, AWS_REGION="ap-south-1") == "eu-west-1 ap-south-1\n"
    both = {"AWS_REGION": "ap-south-1", "AWS_DEFAULT_REGION": "eu-north-1"}
    assert service.manage(*shell, **both) == "eu-west-1 eu-north-1\n"


def test_the_relay_prints_the_error_of_sqs(service: Service) -> None:
    """https://github.com/HexmosTech/aws_sqs_consumer_python/issues/3: an existing queue was reported as missing.

    The region of that URL is used, whatever the environment contains.
    """
    service.shell(PRODUCE.format(data={"id": 1}, count=1))
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/nowhere"
    with pytest.raises(pytest.fail.Exception, match="NonExistentQueue"):
        service.manage("event_sync_relay", "--once", SQS_QUEUE_URL=url, AWS_REGION="us-east-1")


def test_setup_creates_nothing_unless_confirmed(service: Service, sqs: Sqs) -> None:
    """https://github.com/localstack/localstack/issues/5703: queues were created in the wrong account."""
    with pytest.raises(pytest.fail.Exception) as raised:
        service.manage("event_sync_setup", "unasked")
    for line in (f"Endpoint: {sqs.address}", "Account: 123456789012", "Region: us-east-1"):
        assert line in str(raised.value)
    assert "QueueUrls" not in sqs("ListQueues", QueueNamePrefix="unasked")
    output = service.manage("event_sync_setup", "unasked", "--no-input")
    assert f"SQS_QUEUE_URL={sqs.address}/123456789012/unasked\n" in output
    assert len(sqs("ListQueues", QueueNamePrefix="unasked")["QueueUrls"]) == 2


@pytest.fixture(scope="module")
def routed(running: Service, folder: Path) -> Iterator[Server]:
    """The service with its events in a second database."""
    variables = running.variables | {
        "DJANGO_SETTINGS_MODULE": "api_core.settings.two_databases",
        "APP_KEY": APP_KEY,
    }
    if folder.name.endswith("postgres"):
        running.shell(
            "from django.db import connection\nconnection.cursor().execute('CREATE DATABASE events')"
        )
    service = Service(folder, variables, running.mailboxes, running._shell)  # noqa: SLF001
    for alias in ("default", "events"):
        service.manage("migrate", "--verbosity=0", f"--database={alias}")
    with ExitStack() as stack:
        yield stack.enter_context(serving(service, "gunicorn"))


def ask(service: Service, code: str) -> Any:
    """Run code in a new process of the service and return its ``result``."""
    code = f"import json\n{code}\nprint(json.dumps(result))"
    return json.loads(service.manage("shell", "--verbosity=0", "-c", code))


def test_events_can_be_in_a_separate_database(routed: Server, sqs: Sqs) -> None:
    """https://docs.djangoproject.com/en/stable/topics/db/transactions/: atomic() covers one database."""
    service = routed.service
    first, second = ask(service, PRODUCE.format(data={"id": 1}, count=2))
    assert service.manage("event_sync_status").startswith("pending: 2\n")
    assert service.manage("event_sync_relay", "--once") == "2 sent\n"
    assert sent_ids(service, sqs) == [first, second]

    def confirm(event_id: int, **data: str) -> tuple[int, object]:
        body = {"obj_type": "greeting", "obj_data": {"event_id": event_id} | data, "obj_cmd": "put"}
        headers = {"X-Forwarded-Proto": "https", "Authorization": f"Token {APP_KEY}"}
        answer = Api(routed.url, headers)("POST", "event-sync/", body)
        return answer.status, answer.body

    status, body = confirm(first, fault="odd")
    assert status == 500, body
    assert ask(service, GROUPS) == [], "what the handler wrote is rolled back"
    log = "from apps.event_sync.models import EventSync\nresult = EventSync.objects.get(pk=%s).log"
    assert "LookupError: odd" in str(ask(service, log % first))
    for _time in range(2):
        status, body = confirm(first)
        assert status == 200, body
    assert ask(service, GROUPS) == [f"greeting {first}"]
    assert confirm(10**6)[0] == 404

    inbound = service.variables["SQS_INBOUND_QUEUE_URL"]
    message = {"obj_type": "greeting", "obj_data": {"event_id": second}, "obj_cmd": "put"}
    sqs("SendMessage", QueueUrl=inbound, MessageBody=json.dumps(message))
    assert service.manage("event_sync_consume", "--once") == "1 processed\n"
    assert service.manage("event_sync_requeue", str(first)) == "1 requeued\n"
    assert service.manage("event_sync_relay", "--once") == "1 sent\n"
    assert service.manage("event_sync_prune", "--days", "0") == "2 deleted\n"
