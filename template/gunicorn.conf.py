"""Settings of gunicorn: https://gunicorn.org/reference/settings/

Options of the command line win over this file.
"""

import os

from django.conf import settings

from api_core.env import exit_on_bad_variable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.prod")
with exit_on_bad_variable():
    threads = settings.WEB_THREADS
    graceful_timeout = settings.STOP_TIMEOUT - settings.STOP_PAUSE

host = os.environ.get("BIND") or "0.0.0.0"  # noqa: S104 - a container is reached from outside
host = f"[{host.strip('[]')}]" if ":" in host else host
bind = f"{host}:{os.environ.get('PORT') or '8000'}"
# gunicorn reads this one by itself, but before .env is loaded.
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_class = "gthread"
# A worker that hangs is replaced after this many seconds.
timeout = 60

# Django reads X-Forwarded-Proto itself. No client may choose the path or the scheme: gunicorn
# would believe SCRIPT_NAME, PATH_INFO and X-Forwarded-Ssl from this machine.
forwarded_allow_ips = ""
forwarder_headers = ""

# Load the application before the processes start: an invalid setting then stops the server with
# its message, instead of each process in turn.
preload_app = True

# django-structlog logs each request.
accesslog = None
control_socket_disable = True
