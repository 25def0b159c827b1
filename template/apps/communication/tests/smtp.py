"""A mail server for tests that can refuse e-mails and close connections."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Conversation(socketserver.StreamRequestHandler):
    server: "SmtpServer"

    def handle(self) -> None:
        self.server.connections += 1
        self._say("220 test")
        while line := self.rfile.readline().decode().strip():
            self.server.commands.append(line)
            match line.split(":")[0].split(" ")[0].upper():
                case "RCPT":
                    self._say(self.server.replies.get(line.partition("<")[2].rstrip(">"), "250 ok"))
                case "DATA":
                    self._say("354 go on")
                    self.server.messages.append(self._read_message())
                    self._say(self.server.data_reply)
                case "QUIT":
                    return self._say("221 bye")
                case _:
                    self._say("250 ok")
        return None

    def _say(self, reply: str) -> None:
        self.wfile.write(f"{reply}\r\n".encode())

    def _read_message(self) -> str:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        return b"".join(lines).decode()


class SmtpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Conversation)
        self.connections = 0
        self.commands: list[str] = []
        self.messages: list[str] = []
        self.replies: dict[str, str] = {}
        self.data_reply = "250 ok"

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def smtp_server(port: int = 0) -> Iterator[SmtpServer]:
    """Run a server on this port, or on a free one."""
    with SmtpServer(port) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def mailers(port: int) -> dict[str, Any]:
    """Return ``settings.MAILERS`` for a server on this port."""
    return {
        "default": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": port, "timeout": 2},
        }
    }
