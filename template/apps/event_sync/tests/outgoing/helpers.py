"""Helpers of the tests of sending: a queue, and a network to it that can fail."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from moto.moto_server.werkzeug_app import create_backend_app

from apps.event_sync.managers.producer_msg import ProducerMsg
from apps.event_sync.models import EventSync
from common.sqs.sqs_sync import sqs_client

State = EventSync.State

type Fault = Literal["", "down", "lost answer", "slow answer", "no ids", "throttled", "forbidden"]

# Seconds that a client of these tests waits for a slow answer.
PATIENCE = 0.2


class Network(ThreadingHTTPServer):
    """Amazon SQS and STS as simulated by moto, behind a network that can fail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.services = {name: create_backend_app(name) for name in ("sqs", "sts")}
        self.fault: Fault = ""
        self.requests = 0
        # Slow answers that wait until the fault is over.
        self.held = threading.Semaphore(0)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Network

    # The clients keep their connections, which need fewer threads then.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        network = self.server
        network.requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = network.fault
        if fault == "down":
            self._answer(503, [], b"")
        elif fault == "throttled":
            self._refuse("com.amazonaws.sqs#ThrottlingException")
        elif fault == "forbidden":
            self._refuse("com.amazon.coral.service#AccessDeniedException")
        else:
            # AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/...
            service = self.headers["Authorization"].split("/")[3]
            client = network.services[service].test_client()
            response = client.post(self.path, data=body, headers=dict(self.headers))
            if fault == "slow answer":
                network.held.release()
                while network.fault == fault:
                    time.sleep(0.01)
            if fault == "lost answer":
                self.close_connection = True
            else:
                answer = _without_ids(response.data) if fault == "no ids" else response.data
                self._answer(response.status_code, response.headers, answer)

    def _refuse(self, kind: str) -> None:
        self._answer(400, [], json.dumps({"__type": kind, "message": "no"}).encode())

    def _answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name != "Content-Length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        # The client may have timed out.
        with suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def network() -> Iterator[Network]:
    """Run Amazon SQS during the block."""
    with Network() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


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
    bodies: list[dict[str, Any]] = []
    while messages := client.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=0
    ).get("Messages"):
        bodies += [json.loads(message["Body"]) for message in messages]
        client.delete_message_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]}
                for message in messages
            ],
        )
    return bodies


def received_ids(queue_url: str) -> list[int]:
    """Receive and delete all messages of the queue, and return the ids of their events."""
    return [body["data"]["obj_data"]["event_id"] for body in received(queue_url)]


def states(*events: EventSync) -> list[str]:
    """Return the current states of these events."""
    now = dict(EventSync.objects.values_list("pk", "state"))
    return [now[event.pk] for event in events]
