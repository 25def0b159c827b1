"""Containers of a service's Compose files, and the other services that they need."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiosmtpd
import pytest
from pytest_copier.plugin import CopierFixture
from websockets.sync.client import ClientConnection, connect

from support import OPTIONS, Answers, combinations_of, run
from support.servers import URL_BASE, free_port
from support.walk import Api

# The answers that change the containers.
COMBINATIONS = combinations_of(
    {name: OPTIONS[name] for name in ("database", "use_channels", "use_event_sync")}
)

# Four of the eight, which contain every pair of these answers.
MEETING = [COMBINATIONS[number] for number in (0, 3, 5, 6)]

# As sent by a proxy that terminates TLS.
HTTPS = {"X-Forwarded-Proto": "https"}

CREATE_USER = """
from django.utils import timezone
from apps.user.models import User

user = User(email="{name}@example.com", email_confirmed_at=timezone.now())
user.set_password("correct horse battery")
user.save()
"""

APP_KEY = secrets.token_urlsafe(48)

# A server for e-mails. It prints each as one line of JSON.
MAILBOX = """
import json, time
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

class Mailbox(Message):
    def handle_message(self, message):
        (text,) = [part for part in message.walk() if part.get_content_type() == "text/plain"]
        body = text.get_payload(decode=True).decode()
        print(json.dumps({"to": message["To"], "text": body}), flush=True)

Controller(Mailbox(), hostname="0.0.0.0", port=25).start()
time.sleep(3600)
"""


def outside(answers: Answers) -> dict[str, Any]:
    """Return the services that these answers need in production."""
    services: dict[str, Any] = {
        "mail": {
            "image": "python:3.13-slim",
            "command": ["python", "-c", MAILBOX],
            "environment": {"PYTHONPATH": "/packages"},
            "volumes": [f"{Path(aiosmtpd.__file__).parent.parent}:/packages:ro"],
        },
    }
    if answers["database"] == "postgres":
        services["db"] = {
            "image": "postgres:17",
            "environment": {"POSTGRES_PASSWORD": "password"},
        }
    if answers["use_channels"]:
        services["redis"] = {"image": "redis:8"}
    if answers["use_event_sync"]:
        services["sqs"] = {"image": "motoserver/moto:latest"}
    return services


def variables(answers: Answers) -> dict[str, str]:
    """Return the variables of production for the services of ``outside``."""
    found = {
        "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1",
        "URL_BASE": URL_BASE,
        "EMAIL_HOST": "mail",
        "EMAIL_PORT": "25",
    }
    if answers["database"] == "postgres":
        found["DATABASE_URL"] = "postgres://postgres:password@db:5432/postgres"
    if answers["use_channels"]:
        found["REDIS_URL"] = "redis://redis:6379/0"
    if answers["use_event_sync"]:
        found |= {
            "SQS_QUEUE_URL": "http://sqs:5000/123456789012/events",
            "SQS_INBOUND_QUEUE_URL": "http://sqs:5000/123456789012/confirmations",
            "APP_KEY": APP_KEY,
            # Only the relay sends events.
            "EVENT_SYNC_SEND_AT_COMMIT": "false",
            "AWS_ENDPOINT_URL_SQS": "http://sqs:5000",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "COMPOSE_PROFILES": "consumer",
        }
    return found


class Containers:
    """The containers of one of a service's Compose files."""

    def __init__(self, service: Path, answers: Answers, image: str, *files: str) -> None:
        self.service = service
        self.answers = answers
        self.image = image
        self.project = image
        self.files = files
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def compose(self, *command: str, **variables: str) -> str:
        """Run a command of Docker Compose, which must succeed, and return its output."""
        options = [f"--project-name={self.project}", *(f"--file={file}" for file in self.files)]
        return run(
            *["docker", "compose", "--ansi=never", "--progress=plain", *options, *command],
            cwd=self.service,
            **{"PORT": str(self.port)} | variables,
        )

    def up(self, *arguments: str, **variables: str) -> None:
        """Start the services and wait until the web server responds.

        Health checks take longer, because the first one is made after 10 seconds.
        """
        try:
            self.compose("up", "--detach", *arguments, **variables)
            wait_until(self.responds, seconds=180)
        except (AssertionError, pytest.fail.Exception) as failure:
            logs = self.compose("logs", "--no-color", "--tail=60")
            pytest.fail(f"{failure}\n{logs}", pytrace=False)

    def responds(self) -> bool:
        try:
            return Api(self.url)("GET", "health/").status == 200
        except OSError:
            return False

    def become_healthy(self) -> None:
        """Wait until every running container is healthy. Fail the test if one is not."""
        self.compose("up", "--detach", "--wait", "--no-recreate")

    def execute(self, *command: str, service: str = "web", index: int = 1) -> str:
        """Run a program in a running container of a service, and return its output."""
        return self.compose("exec", "--no-TTY", f"--index={index}", service, *command)

    def shell(self, code: str, service: str = "web") -> str:
        """Run Python code within the service, and return what it prints."""
        manage = ["python", "manage.py", "shell", "--verbosity=0", "--command"]
        return self.execute(*manage, code, service=service).strip()

    def token(self) -> str:
        """Create a user and return a token."""
        name = secrets.token_hex(4)
        self.shell(CREATE_USER.format(name=name))
        credentials = {"email": f"{name}@example.com", "password": "correct horse battery"}
        login = Api(self.url, HTTPS)("POST", "auth/login/", credentials)
        return str(login.body["token"])

    def printed(self, service: str) -> str:
        """Return the output of a service."""
        return run("docker", "logs", f"{self.project}-{service}-1", cwd=self.service)

    def container(self, service: str) -> str:
        """Return the id of the only container of a service, running or not."""
        (identifier,) = self.compose("ps", "--all", "--quiet", service).split()
        return identifier

    def remove(self) -> None:
        """Remove the containers, the volumes, and the images that this project built."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=0")
        built = f"--filter=label=com.docker.compose.project={self.project}"
        run("docker", "image", "prune", "--all", "--force", built, cwd=self.service)


class Mailbox:
    """The e-mails that the server of ``outside`` has received, in order."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._seen = 0

    def read(self, to: str) -> str:
        """Return the text of the next e-mail, which must be to this address."""
        line = wait_until(lambda: self._containers.printed("mail").splitlines()[self._seen :])[0]
        self._seen += 1
        message = json.loads(line)
        assert message["to"] == to
        return str(message["text"])


@contextmanager
def production(copier: CopierFixture, folder: Path, answers: Answers) -> Iterator[Containers]:
    """Prepare the service of docker-compose.yml and start the other services of production."""
    slug = f"test-{secrets.token_hex(3)}"
    service = copier.copy(folder / slug, project_slug=slug, **answers).path
    (service / "outside.json").write_text(json.dumps({"services": outside(answers)}))
    lines = [f"{name}={value}\n" for name, value in variables(answers).items()]
    (service / ".env").write_text("".join(lines))
    containers = Containers(service, answers, slug, "docker-compose.yml", "outside.json")
    try:
        yield containers
    finally:
        containers.remove()


@contextmanager
def another(built: Containers, *files: str) -> Iterator[Containers]:
    """The same service and image without containers and data: another project, with more files."""
    containers = Containers(built.service, built.answers, built.image, *built.files, *files)
    containers.project = f"test-{secrets.token_hex(3)}"
    try:
        yield containers
    finally:
        containers.remove()


def wait_until[Found](look: Callable[[], Found], seconds: float = 60) -> Found:
    """Call a function until it returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)
    return found


@contextmanager
def sockets(
    service: Containers, path: str, token: str = "", count: int = 1
) -> Iterator[list[ClientConnection]]:
    """Open WebSockets of one user, or anonymous ones."""
    url = f"ws://127.0.0.1:{service.port}{path}"
    headers = HTTPS | ({"Authorization": f"Bearer {token}"} if token else {})
    with ExitStack() as stack:
        yield [stack.enter_context(connect(url, additional_headers=headers)) for _ in range(count)]


# Events are produced here, and another service receives them from the queue and prints them.
EVENTS = """
from django.conf import settings
from apps.event_sync.managers.producer_msg import ProducerMsg
from common.sqs.sqs_sync import sqs_client

for _ in range(2):
    ProducerMsg(
        apps={"target": ["billing"]}, obj_type="test_event_sync", obj_data={"a": 1}, obj_cmd="put"
    ).handle_msg_sync()
queue = settings.SQS_QUEUE_URL
for _ in range(2):
    (message,) = sqs_client().receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]
    sqs_client().delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    print(message["Body"])
"""
CONFIRM = """
import time
from django.conf import settings
from apps.event_sync.models import EventSync
from common.sqs.sqs_sync import sqs_client

sqs_client().send_message(QueueUrl=settings.SQS_INBOUND_QUEUE_URL, MessageBody={body!r})
processed = EventSync.objects.filter(pk__in={ids}, sent__isnull=False, processed__isnull=False)
deadline = time.monotonic() + 60
while processed.count() < 2 and time.monotonic() < deadline:
    time.sleep(0.1)
print(processed.count())
"""


def events_go_and_come(service: Containers, app_key: str) -> None:
    """Check that the relay sends two events. One is confirmed over HTTP, one through a queue."""
    events = [json.loads(line) for line in service.shell(EVENTS).splitlines()]
    assert [event["apps"] for event in events] == [{"target": ["billing"]}] * 2
    over_http, through_queue = (event["data"] for event in events)

    api = Api(service.url, HTTPS | {"Authorization": f"Token {app_key}"})
    assert api("POST", "event-sync/", over_http).status == 200
    ids = [event["data"]["obj_data"]["event_id"] for event in events]
    assert service.shell(CONFIRM.format(body=json.dumps(through_queue), ids=ids)) == "2"
