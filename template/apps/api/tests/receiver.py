"""A server on this machine that stores what Sentry's client and OpenTelemetry send."""

import gzip
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import sentry_sdk

from api_core.error_reports import SentryHandler

# Seconds to wait for a report, on a busy machine.
PATIENCE = 60


class Receiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, bytes]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def dsn(self) -> str:
        return f"http://key@{self.address}/1"

    def reports(self) -> list[dict[str, Any]]:
        """Return the events in all envelopes: https://develop.sentry.dev/sdk/foundations/envelopes/"""
        sentry_sdk.flush(PATIENCE)
        reports = []
        for path, body in self.received:
            assert path == "/api/1/envelope/"
            lines = iter(body.splitlines()[1:])
            for header, payload in zip(lines, lines, strict=True):
                if json.loads(header)["type"] == "event":
                    reports.append(json.loads(payload))
        return reports


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@contextmanager
def reporting() -> Iterator[Receiver]:
    """Report errors to a server of this test."""
    with receiver() as server:
        handler = SentryHandler(server.dsn)
        logging.getLogger().addHandler(handler)
        try:
            yield server
        finally:
            logging.getLogger().removeHandler(handler)
            sentry_sdk.get_client().close()
            sentry_sdk.get_global_scope().set_client(None)
