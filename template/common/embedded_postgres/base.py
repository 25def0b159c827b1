"""A database backend for development: PostgreSQL from a Python package.

Like Django's PostgreSQL backend, but the first connection starts a server for
``OPTIONS["data_directory"]`` if none is running. The server stops after the last process that uses
it, and only listens on a Unix socket.
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

# The package starts PostgreSQL through a shell without quoting the path.
_SAFE_PATH = re.compile(r"[\w./:\\@+,-]+", re.ASCII)


class Server(NamedTuple):
    """The output of ``common.embedded_postgres.server``."""

    host: str
    port: int
    psql: str


class DatabaseClient(client.DatabaseClient):
    """Run ``dbshell`` with the psql of the package."""

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
    """Start PostgreSQL if it is not running, and keep it running until this process ends."""
    directory = safe_directory(data_directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    keeper = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "common.embedded_postgres.server", directory],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C in the terminal must not stop the server before this process.
        start_new_session=True,
    )
    # Closes standard input and waits.
    atexit.register(keeper.communicate)
    line = keeper.stdout.readline() if keeper.stdout else ""
    if not line:
        raise OperationalError("The embedded PostgreSQL did not start. See the output above.")
    return Server(*json.loads(line))


def safe_directory(data_directory: Path) -> Path:
    """Return the directory, or one in the home directory if the path needs quoting in a shell."""
    if _SAFE_PATH.fullmatch(str(data_directory)):
        return data_directory
    name = sha256(str(data_directory).encode()).hexdigest()[:16]
    return platformdirs.user_data_path("embedded_postgres") / name
