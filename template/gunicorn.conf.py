"""How gunicorn serves: https://gunicorn.org/reference/settings/

BIND and PORT say where it listens, WEB_CONCURRENCY sets the number of processes. Options of the
command line win over this file.
"""

import os
from typing import Any

from gunicorn.workers.gthread import ThreadWorker


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Threads, and a door that closes when the worker is told to stop.

    gunicorn's own stays open until the last request is answered, and then resets the
    connections that came meanwhile. Here they are refused at once, so that a proxy tries
    another server, and those that were waiting already are answered.
    """

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - gunicorn's signature
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                self._accept_who_waits(listener)
                listener.close()

    def _accept_who_waits(self, listener: Any) -> None:
        before = -1
        while self.nr_conns != before:
            before = self.nr_conns
            self.accept(listener)


host = os.environ.get("BIND", "0.0.0.0")  # noqa: S104 - a container is reached from outside
bind = f"{host}:{os.environ.get('PORT', '8000')}"
worker_class = Worker
threads = 4

# Load the application before the processes start: a wrong setting then stops the server with
# its message, instead of each process in turn.
preload_app = True

# Seconds: a worker that hangs is replaced; one that is told to stop finishes its requests.
timeout = 60
graceful_timeout = 8

# django-structlog writes the line of each request.
accesslog = None
control_socket_disable = True
