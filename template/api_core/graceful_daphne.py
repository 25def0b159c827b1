"""Daphne that stops gracefully: ``python -m api_core.graceful_daphne`` takes Daphne's options.

Told to stop, Daphne itself cancels every request at once. This one takes no new connections,
tells WebSockets that the service restarts, and answers the requests that it has begun.
"""

import time
from collections.abc import Generator
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.http_protocol import WebRequest
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection

from api_core.listening import DRAIN, hear, refuse_newcomers

# Seconds that requests have to end. A container is killed 10 seconds after the signal.
GRACE = 8
# Seconds that a client has to begin a request on a connection that was just accepted.
QUIET = 1.0
# https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number
SERVICE_RESTART = 1012


class GracefulServer(Server):  # type: ignore[misc]  # Daphne has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ports: list[Any] = []

    def listen_success(self, port: Any) -> None:
        self.ports.append(port)
        super().listen_success(port)

    @inlineCallbacks
    def kill_all_applications(self) -> Generator[Any, Any]:
        """Wait for the requests; then kill what is left. Daphne calls this before it stops."""
        for port in self.ports:
            refuse_newcomers(port.socket)
        yield deferLater(reactor, DRAIN)
        for port in self.ports:
            port.doRead()  # accepts who still waits
            yield port.stopListening()
        for reader in reactor.getReaders():  # type: ignore[misc]  # Twisted types it without self
            if isinstance(reader, Connection):
                hear(reader.socket)
        for protocol in self.connections:
            if isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN:
                protocol.sendCloseFrame(code=SERVICE_RESTART)
        began = last_busy = time.monotonic()
        while time.monotonic() < min(began + GRACE, last_busy + QUIET):
            yield deferLater(reactor, QUIET / 20)
            if self._requests_in_flight():
                last_busy = time.monotonic()
        yield super().kill_all_applications()

    def _requests_in_flight(self) -> bool:
        return any(
            isinstance(protocol, WebRequest) and "disconnected" not in details
            for protocol, details in self.connections.items()
        )


class GracefulCommandLine(CommandLineInterface):  # type: ignore[misc]
    server_class = GracefulServer


if __name__ == "__main__":
    GracefulCommandLine.entrypoint()
