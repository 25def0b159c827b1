"""moto's server, and a gate in front of it that can delay requests."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.servers import free_port, started, wait_for

# moto requires no key. It reads the name of the AWS service from this.
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request,"
    " SignedHeaders=host, Signature=0"
)


class Sqs:
    """A client of SQS without boto3, which is not installed here."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, action: str, **arguments: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self.address,
            json.dumps(arguments).encode(),
            {
                "Authorization": AUTHORIZATION,
                "Content-Type": "application/x-amz-json-1.0",
                "X-Amz-Target": f"AmazonSQS.{action}",
            },
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            answer: dict[str, Any] = json.loads(response.read() or b"{}")
            return answer

    def make_queue(self, name: str) -> str:
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        url: str = self("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def take(self, queue_url: str) -> list[dict[str, Any]]:
        """Receive and delete up to ten messages, and return their bodies."""
        answer = self("ReceiveMessage", QueueUrl=queue_url, MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        if messages:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            self("DeleteMessageBatch", QueueUrl=queue_url, Entries=entries)
        return [json.loads(message["Body"]) for message in messages]

    def take_all(self, queue_url: str) -> list[dict[str, Any]]:
        bodies = []
        while some := self.take(queue_url):
            bodies += some
        return bodies


@contextmanager
def sqs_server(service: Path) -> Iterator[Sqs]:
    """Run moto's server with the packages of a service."""
    port = free_port()
    program = service / ".venv/bin/moto_server"
    with started(program, "-H", "127.0.0.1", "-p", str(port), cwd=service):
        wait_for(f"http://127.0.0.1:{port}/moto-api/data.json")
        yield Sqs(f"http://127.0.0.1:{port}")


class Gate(ThreadingHTTPServer):
    """Forwards requests to a server. While it is closed, it delays requests or responses."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.server = server
        self.requests_pass = threading.Event()
        self.answers_pass = threading.Event()
        self.requests_pass.set()
        self.answers_pass.set()
        self.held = threading.Semaphore(0)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait(self, passage: threading.Event) -> None:
        if not passage.is_set():
            self.held.release()
            passage.wait(60)


class _Handler(BaseHTTPRequestHandler):
    server: Gate

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = dict(self.headers.items())
        self.server.wait(self.server.requests_pass)
        if not self._is_open():
            return
        upstream = HTTPConnection(self.server.server.removeprefix("http://"), timeout=20)
        with closing(upstream):
            upstream.request("POST", self.path, body, headers)
            response = upstream.getresponse()
            answer = response.read()
        self.server.wait(self.server.answers_pass)
        with suppress(ConnectionError):
            self.send_response(response.status)
            for name, value in response.headers.items():
                if name.lower().startswith(("content-type", "x-amz")):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def _is_open(self) -> bool:
        """Return whether the client is connected: requests of a dead client must not arrive."""
        self.connection.settimeout(0)
        try:
            return bool(self.connection.recv(1))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        finally:
            self.connection.settimeout(None)

    def log_message(self, *args: Any) -> None:
        """Do not print each request."""


@contextmanager
def gate(sqs: Sqs) -> Iterator[Gate]:
    opened = Gate(sqs.address)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield opened
    finally:
        opened.requests_pass.set()
        opened.answers_pass.set()
        opened.shutdown()
        thread.join()
        opened.server_close()
