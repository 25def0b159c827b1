#!/bin/sh
# Starts the service for development, or another command in its place.
set -eu

if [ "$1" != web ]; then
    exec "$@"
fi

# A model may be tried before its migration is written: --run-syncdb creates the tables of
# applications without migrations.
python manage.py migrate --no-input || python manage.py migrate --no-input --run-syncdb

if [ "${COLLECTSTATIC:-0}" = 1 ]; then
    python manage.py collectstatic --no-input
fi

# The folders of the source alone: another one of yours goes here too.
exec uvicorn api_core.asgi:application --host 0.0.0.0 --port 8000 --no-access-log \
    --reload --reload-dir api_core --reload-dir apps --reload-dir common
