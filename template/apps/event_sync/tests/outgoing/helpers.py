"""Helpers of the tests of sending: a queue, and a network to it that can fail."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from apps.event_sync.managers.producer_msg import ProducerMsg
from apps.event_sync.models import EventSync
from common.sqs.sqs_sync import sqs_client

State = EventSync.State

type Fault = Literal["", "down", "lost answer", "slow answer", "no ids", "throttled", "forbidden"]

# Seconds that a client of these tests waits for a slow answer.
PATIENCE = 0.2


class Network(ThreadingHTTPServer):
    """A proxy between boto3 and moto's server that can fail."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        self.fault: Fault = ""
        self.requests = 0
        # Slow answers that wait until the fault is over.
        self.held = threading.Semaphore(0)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Network

    def do_POST(self) -> None:
        network = self.server
        network.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = network.fault
        if fault == "down":
            self._answer(503, {}, b"")
        elif fault == "throttled":
            self._refuse("com.amazonaws.sqs#ThrottlingException")
        elif fault == "forbidden":
            self._refuse("com.amazon.coral.service#AccessDeniedException")
        else:
            status, headers, answer = self._forward(body)
            if fault == "slow answer":
                network.held.release()
                while network.fault == fault:
                    time.sleep(0.01)
            if fault != "lost answer":
                answer = _without_ids(answer) if fault == "no ids" else answer
                self._answer(status, headers, answer)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(self.server.server.removeprefix("http://"), timeout=10)
        with closing(connection):
            connection.request("POST", self.path, body, _end_to_end(self.headers))
            response = connection.getresponse()
            return response.status, _end_to_end(response.headers), response.read()

    def _refuse(self, kind: str) -> None:
        self._answer(400, {}, json.dumps({"__type": kind, "message": "no"}).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # The client may have timed out.
        with suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def network(server: str) -> Iterator[Network]:
    """Run a proxy to a server during the block."""
    proxy = Network(server)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def _end_to_end(headers: Message) -> dict[str, str]:
    """Return the end-to-end headers."""
    own = {"host", "connection", "content-length", "date", "server"}
    return {name: value for name, value in headers.items() if name.lower() not in own}


def _without_ids(answer: bytes) -> bytes:
    content = json.loads(answer)
    for entry in content.get("Successful", []):
        entry.pop("MessageId")
    return json.dumps(content).encode()


def produce(number: int = 1, **fields: Any) -> EventSync:
    """Store an event through ``ProducerMsg``."""
    return ProducerMsg(
        **{
            "apps": {"target": ["billing"]},
            "obj_type": "invoice",
            "obj_data": {"id": number},
            "obj_cmd": "put",
            **fields,
        }
    ).handle_msg_sync()


def store(number: int = 1, **fields: Any) -> EventSync:
    """Store an event without an attempt to send it."""
    defaults: dict[str, Any] = {
        "apps": {"target": ["billing"]},
        "obj_type": "invoice",
        "obj_data": {"id": number},
        "obj_cmd": "put",
        "obj_key": f"invoice:{number}",
    }
    event = EventSync.objects.create(**{**defaults, **fields})
    event.refresh_from_db()
    return event


def received(queue_url: str) -> list[dict[str, Any]]:
    """Receive and delete all messages of the queue, and return their bodies in order."""
    client = sqs_client()
    bodies = []
    while messages := client.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0
    ).get("Messages"):
        for message in messages:
            bodies.append(json.loads(message["Body"]))
            client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def received_ids(queue_url: str) -> list[int]:
    """Receive and delete all messages of the queue, and return the ids of their events."""
    return [body["data"]["obj_data"]["event_id"] for body in received(queue_url)]


def states(*events: EventSync) -> list[str]:
    """Return the current states of these events."""
    now = dict(EventSync.objects.values_list("pk", "state"))
    return [now[event.pk] for event in events]
