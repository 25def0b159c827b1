"""A service as in production: the web server, a worker, and a server that receives the e-mails."""

import queue
from email.message import Message
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from pytest_copier.plugin import CopierFixture
from support import OPTIONS
from support.servers import URL_BASE, database, free_port, installed, production, served, started
from support.walk import Api, walk


class Mailbox(MessageHandler):
    """Keeps the e-mails that an SMTP server receives, by recipient."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived: queue.Queue[Message] = queue.Queue()

    def handle_message(self, message: Message) -> None:
        self._arrived.put(message)

    def read(self, to: str) -> str:
        """Return the text of the next e-mail, which must be to this address."""
        message = self._arrived.get(timeout=30)
        assert message["To"] == to
        for part in message.walk():
            if part.get_content_type() == "text/plain":
                text = part.get_payload(decode=True)
                assert isinstance(text, bytes)
                return text.decode()
        raise AssertionError(message)


@pytest.mark.parametrize("kind", OPTIONS["database"])
def test_an_account_can_be_used_from_registration_to_deletion(
    copier: CopierFixture, short_path: Path, kind: str
) -> None:
    service = installed(copier, short_path / f"walk-{kind}", database=kind)
    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    try:
        with database(service, kind) as database_url:
            variables = production(database_url, smtp.port)
            python = service / ".venv/bin/python"
            with (
                served(service, variables) as url,
                started(python, "manage.py", "db_worker", cwd=service, **variables),
            ):
                # As sent by a proxy that terminates TLS.
                walk(Api(url, {"X-Forwarded-Proto": "https"}), mailbox.read, URL_BASE)
    finally:
        smtp.stop()
