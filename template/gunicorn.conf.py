"""Settings of gunicorn: https://gunicorn.org/reference/settings/

BIND and PORT set the address, WEB_CONCURRENCY the number of processes, WEB_THREADS the threads of
each, and STOP_TIMEOUT the seconds a stop may take. Command-line options override this file.
"""

import os

from django.conf import settings

from api_core.env import exit_on_bad_variable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")
with exit_on_bad_variable():
    threads = settings.WEB_THREADS
    graceful_timeout = int(settings.STOP_TIMEOUT)

host = os.environ.get("BIND") or "0.0.0.0"  # noqa: S104 - other machines connect to it
host = f"[{host.strip('[]')}]" if ":" in host else host
bind = f"{host}:{os.environ.get('PORT') or '8000'}"
# gunicorn reads this variable itself, but before .env is loaded.
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_class = "gthread"

# Django reads X-Forwarded-Proto itself. gunicorn must not take SCRIPT_NAME, PATH_INFO or the scheme
# from headers of clients on this machine.
forwarded_allow_ips = ""
forwarder_headers = ""

# Load the application once, before the processes start: a wrong setting stops the server with one
# message.
preload_app = True

# Seconds after which a worker that hangs is replaced.
timeout = 60

# api_core.request_log logs each request.
accesslog = None
control_socket_disable = True
