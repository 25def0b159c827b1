"""How gunicorn serves: https://gunicorn.org/reference/settings/

BIND and PORT say where it listens, WEB_CONCURRENCY sets the number of processes. Options of the command line win over this file.
"""

import os

host = os.environ.get("BIND", "0.0.0.0")  # noqa: S104 - a container is reached from outside
bind = f"{host}:{os.environ.get('PORT', '8000')}"
worker_class = "gthread"
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
