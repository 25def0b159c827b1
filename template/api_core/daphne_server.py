"""Daphne that answers the requests in flight before it stops; it takes Daphne's options.

Daphne itself cancels them on SIGTERM, and has no setting for that.
"""

import time
from collections.abc import Generator
from typing import Any

from daphne.cli import CommandLineInterface
from daphne.http_protocol import WebRequest
from daphne.server import Server
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import deferLater

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
        """Accept no more connections, and wait for the requests in flight."""
        deadline = time.monotonic() + settings.STOP_TIMEOUT
        for port in self.ports:
            yield port.stopListening()
        for protocol in self.connections:
            if isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN:
                protocol.sendCloseFrame(code=SERVICE_RESTART)
        while self._requests_in_flight() and time.monotonic() < deadline:
            yield deferLater(reactor, 0.05)
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
