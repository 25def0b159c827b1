#!/bin/sh
# Starts one role of the service:
#   web        prepares the database and the static files, then serves (the default)
#   worker     sends the e-mails
#   manage     runs a command of manage.py: "manage createsuperuser"
# Anything else is run as it is.
set -eu

# Runs a command to its end. As the first process of a container, a shell ignores SIGTERM
# while it waits, so this one passes it on.
run() {
    "$@" &
    trap 'kill "$!"; exit 143' TERM INT
    wait "$!"
    trap - TERM INT
}

prepare_database() {
    run python manage.py prepare_database --wait "${DATABASE_WAIT:-60}" "$@"
}

# The image holds the static files. A volume mounted over them, from which another server
# serves them, may hold those of an older image.
collect_static() {
    if ! cmp -s staticfiles/staticfiles.json docker/prod/staticfiles.json; then
        run python manage.py collectstatic --no-input
    fi
}

role=$1
shift
case $role in
    web)
        prepare_database
        collect_static
        exec ./start_server.sh
        ;;
    worker)
        prepare_database --by-another
        exec python manage.py db_worker
        ;;
    manage)
        exec python manage.py "$@"
        ;;
    *)
        exec "$role" "$@"
        ;;
esac
