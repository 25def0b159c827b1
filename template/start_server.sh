#!/bin/sh
# Starts the server. PORT is its port, WEB_CONCURRENCY its processes.
set -eu
exec gunicorn api_core.wsgi
