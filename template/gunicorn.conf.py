"""Settings of gunicorn: https://gunicorn.org/reference/settings/

BIND and PORT set the address, WEB_CONCURRENCY the number of processes, WEB_THREADS the threads of
each, and STOP_TIMEOUT the seconds a stop may take. Command-line options override this file.
"""

import os

import api_core.env  # noqa: F401 - it loads .env

host = os.environ.get("BIND") or "0.0.0.0"  # noqa: S104 - containers are reached from outside
host = f"[{host.strip('[]')}]" if ":" in host else host
bind = f"{host}:{os.environ.get('PORT') or '8000'}"
# gunicorn reads this variable itself, but before .env is loaded.
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "10"))

# Django reads X-Forwarded-Proto itself. gunicorn must not take SCRIPT_NAME, PATH_INFO or the scheme
# from headers of clients on this machine.
forwarded_allow_ips = ""
forwarder_headers = ""

# Load the application once, before the processes start: a wrong setting stops the server with one
# message.
preload_app = True

# Seconds after which a worker that hangs is replaced; and that requests in flight get on a stop.
timeout = 60
graceful_timeout = int(float(os.environ.get("STOP_TIMEOUT", "25")))

# django-structlog logs each request.
accesslog = None
control_socket_disable = True
