"""A check of pooled connections that costs no round trip."""

import select
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool


def check_connection(connection: Connection[Any]) -> None:
    """Raise if the server has closed the connection.

    The pool calls this for each request. The server sends nothing over an idle connection until it
    closes it, so a query is only needed if there is something to read.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
