"""A database backend for development: PostgreSQL from a Python package.

Django's own PostgreSQL backend, except that the first connection starts a server for
``OPTIONS["data_directory"]`` if none runs. The server stops with the last process that uses it. It
only listens on a Unix socket, so it occupies no port and is not reachable from other machines.
"""

import atexit
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
from django.db import OperationalError
from django.db.backends.postgresql import base, client

# The package starts PostgreSQL through a shell and does not quote the path.
_SAFE_PATH = re.compile(r"[\w./:\\@+,-]+", re.ASCII)


class Server(NamedTuple):
    """What ``common.embedded_postgres.server`` prints: how to connect, and the path of psql."""

    host: str
    port: int
    psql: str


class DatabaseClient(client.DatabaseClient):
    """``dbshell``: the package's own psql, connected to its server."""

    def runshell(self, parameters: Iterable[str]) -> None:
        settings = self.connection.settings_dict
        server = start_server(settings["OPTIONS"]["data_directory"])
        settings.update(HOST=server.host, PORT=server.port, USER="postgres")
        self.executable_name = server.psql
        super().runshell(parameters)


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        params = super().get_connection_params()
        server = start_server(params.pop("data_directory"))
        return params | {"user": "postgres", "host": server.host, "port": server.port}


@cache
def start_server(data_directory: Path) -> Server:
    """Start PostgreSQL unless it runs, and keep it running until this process ends."""
    directory = safe_directory(data_directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    keeper = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "common.embedded_postgres.server", directory],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C in the terminal is for this process, and the keeper outlives it by a moment.
        start_new_session=True,
    )
    # Closes its standard input, and waits until it has ended.
    atexit.register(keeper.communicate)
    line = keeper.stdout.readline() if keeper.stdout else ""
    if not line:
        raise OperationalError("The embedded PostgreSQL did not start; the reason is above.")
    return Server(*json.loads(line))


def safe_directory(data_directory: Path) -> Path:
    """Return the directory itself or, if its path holds a blank or the like, one of the user's own."""
    if _SAFE_PATH.fullmatch(str(data_directory)):
        return data_directory
    name = sha256(str(data_directory).encode()).hexdigest()[:16]
    return platformdirs.user_data_path("embedded_postgres") / name
