"""How gunicorn serves: https://gunicorn.org/reference/settings/

BIND and PORT set the address, WEB_CONCURRENCY the number of processes, and WEB_THREADS the threads
in each. Options of the command line win over this file.
"""

import os
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

import api_core.env  # noqa: F401 - it loads .env
from api_core.listening import DRAIN, hear, refuse_newcomers


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

    def enqueue_req(self, conn: Any) -> None:
        hear(conn.sock)
        super().enqueue_req(conn)

    def _accept_who_waits(self, listener: Any) -> None:
        before = -1
        while self.nr_conns != before:
            before = self.nr_conns
            self.accept(listener)


def when_ready(arbiter: Any) -> None:
    """Let no more connections come when the workers are told to stop."""

    def stop(graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        # A socket of systemd's, or one that a newer gunicorn took over (USR2), goes on listening.
        shared = arbiter.systemd or arbiter.reexec_pid or arbiter.master_pid
        if graceful and not shared:
            for listener in arbiter.LISTENERS:
                refuse_newcomers(listener.sock)
            time.sleep(DRAIN)
        stop_at_once(graceful)

    stop_at_once, arbiter.stop = arbiter.stop, stop


host = os.environ.get("BIND") or "0.0.0.0"  # noqa: S104 - a container is reached from outside
host = f"[{host.strip('[]')}]" if ":" in host else host
bind = f"{host}:{os.environ.get('PORT') or '8000'}"
# gunicorn reads this one by itself, but before .env is loaded.
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_class = Worker
threads = int(os.environ.get("WEB_THREADS", "10"))

# Django reads X-Forwarded-Proto itself. No client may choose the path or the scheme: gunicorn
# would believe SCRIPT_NAME, PATH_INFO and X-Forwarded-Ssl from this machine.
forwarded_allow_ips = ""
forwarder_headers = ""

# Load the application before the processes start: a wrong setting then stops the server with
# its message, instead of each process in turn.
preload_app = True

# Seconds: a worker that hangs is replaced; one that is told to stop finishes its requests.
timeout = 60
graceful_timeout = 8

# django-structlog writes the line of each request.
accesslog = None
control_socket_disable = True
