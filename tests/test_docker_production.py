"""The images and containers for production, built and running."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import ROOT, Answers, in_one_worker, run
from support.containers import (
    APP_KEY,
    COMBINATIONS,
    HTTPS,
    MEETING,
    Containers,
    Mailbox,
    another,
    events_go_and_come,
    production,
    sockets,
    variables,
    wait_until,
)
from support.servers import URL_BASE
from support.walk import Api, walk

pytestmark = pytest.mark.docker

DEFAULTS = COMBINATIONS[0]

# A load balancer: four clients send requests, each on a new connection, until readiness is not 200. It
# runs on the loopback interface of the server's own container.
LOAD = """
import collections, http.client, json, threading, time

responses = collections.Counter()
not_ready = threading.Event()

def get(path):
    server = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
    headers = {"Host": "127.0.0.1", "X-Forwarded-Proto": "https", "Connection": "close"}
    try:
        server.request("GET", path, headers=headers)
        response = server.getresponse()
        response.read()
        return response.status
    except Exception as error:
        return repr(error)

def client():
    while not not_ready.is_set():
        responses[get("/api/schema/")] += 1

readiness = get("/api/v1/health/ready/")
threads = [threading.Thread(target=client) for _ in range(4)]
for thread in threads:
    thread.start()
while responses.total() < 8:
    time.sleep(0.1)
print("started", flush=True)
until = time.monotonic() + 60
while readiness == 200 and time.monotonic() < until:
    time.sleep(0.1)
    readiness = get("/api/v1/health/ready/")
not_ready.set()
for thread in threads:
    thread.join()
print(json.dumps([readiness, responses]))
"""


@pytest.fixture(scope="module", params=in_one_worker(MEETING, "production"))
def running(
    request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path
) -> Iterator[Containers]:
    """Every service of docker-compose.yml, and the other services of production."""
    with production(copier, short_path, request.param) as containers:
        containers.up("--build")
        if request.param["use_event_sync"]:
            setup = ["python", "manage.py", "event_sync_setup", "--no-input"]
            containers.execute(*setup, "events")
            containers.execute(*setup, "confirmations", "--inbound")
        yield containers


def test_an_account_can_be_used_from_registration_to_deletion(running: Containers) -> None:
    walk(Api(running.url, HTTPS), Mailbox(running).read, URL_BASE)


def test_each_option_works(running: Containers) -> None:
    ready = Api(running.url, HTTPS)("GET", "health/ready/").body
    expected = {"database": "ok"}
    if running.answers["use_channels"]:
        expected["channel_layer"] = "ok"
        with sockets(running, "/ws/echo/", running.token()) as (socket,):
            socket.send("à toi")
            assert socket.recv(timeout=10) == "à toi"
    if running.answers["use_event_sync"]:
        expected["event_sync"] = "ok"
        events_go_and_come(running, APP_KEY)
    assert ready == {"status": "ok", "checks": expected}


def test_check_deploy_reports_no_issues(running: Containers) -> None:
    check = running.execute("python", "manage.py", "check", "--deploy", "--fail-level=INFO")
    assert "no issues (0 silenced)" in check


def test_one_proxy_is_counted_by_default(running: Containers) -> None:
    code = "from django.conf import settings; print(settings.NUM_PROXIES)"
    assert running.shell(code) == "1"


def test_a_container_can_only_write_to_tmp(running: Containers) -> None:
    assert running.execute("id", "-u").strip() == "10001"
    for path in ("/app/api_core/x", "/opt/venv/x", "/etc/x", "/app/staticfiles/x"):
        with pytest.raises(pytest.fail.Exception, match="Read-only file system"):
            running.execute("touch", path)
    running.execute("touch", "/tmp/x")  # noqa: S108


def stop_under_load(service: Containers) -> None:
    """Stop the web server during requests. None may fail."""
    container = service.container("web")
    client = ["docker", "run", "--rm", f"--network=container:{container}", "python:3.13-slim"]
    with subprocess.Popen(
        [*client, "python", "-c", LOAD], stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdout
        assert load.stdout.readline() == "started\n"
        began = time.monotonic()
        service.compose("stop", "web")
        assert time.monotonic() - began < 20
        readiness, responses = json.loads(load.stdout.read())
    assert readiness == 503
    assert responses.keys() == {"200"}
    assert responses["200"] >= 8


def test_every_container_becomes_healthy(running: Containers) -> None:
    running.become_healthy()


def test_a_stop_fails_no_request_and_data_survives_new_containers(running: Containers) -> None:
    create = "from apps.user.models import User; User(email='old@example.com', password='!').save()"
    running.shell(create)
    before = running.container("web")
    stop_under_load(running)
    running.up("--force-recreate", "--no-deps", "web")
    assert running.container("web") != before
    count = "from apps.user.models import User; print(User.objects.filter(email__startswith='old').count())"
    assert running.shell(count) == "1"


# Tests of one variant: the default answers, or SQLite if that differs.


def of_variant(answers: Answers) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("running", in_one_worker([answers], "production"), indirect=True)


of_defaults = of_variant(DEFAULTS)
of_sqlite = of_variant(MEETING[2])


def start(service: Containers, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the image until it exits, with only these variables."""
    options = [f"--env={name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["docker", "run", "--rm", *options, service.image, *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# Start a role without each of these variables in turn.
WITHOUT_EACH = """
role=$1
shift
for name; do
    env --unset="$name" sh docker/prod/entrypoint.sh "$role" 2>&1 && status=0 || status=$?
    echo "exit $status"
done
"""


@of_defaults
@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_missing_variable_is_named_in_one_line(running: Containers, role: str) -> None:
    stand_ins = (running.service / "docker/prod/build.env").read_text()
    required = set(re.findall(r"^(\w+)=", stand_ins, re.MULTILINE)) - {"DJANGO_SETTINGS_MODULE"}
    required.add("DJANGO_SECRET_KEY")
    assert "DATABASE_URL" in required
    names = sorted(required)
    given = variables(DEFAULTS) | {"DATABASE_WAIT": "1"}
    ended = start(running, "sh", "-c", WITHOUT_EACH, "sh", role, *names, **given)
    assert ended.stdout == "".join(
        "Configuration error in api_core.settings.prod:\n"
        f"  {name}: Environment variable not set.\n"
        "exit 1\n"
        for name in names
    )


@of_defaults
def test_a_container_exits_if_the_database_never_answers(running: Containers) -> None:
    given = variables(DEFAULTS) | {"DATABASE_URL": "postgres://u:secret@127.0.0.1:1/db"}
    ended = start(running, **given, DATABASE_WAIT="2")
    assert ended.returncode == 1
    fault = "The database is unavailable: connection failed: "
    assert ended.stderr.splitlines()[-1].startswith(f"CommandError: {fault}")
    assert ended.stderr.count("\n") == 2
    assert "secret" not in ended.stderr


@of_defaults
def test_a_container_stops_while_it_waits_for_the_database(running: Containers) -> None:
    given = variables(DEFAULTS) | {"DATABASE_URL": "postgres://u:p@127.0.0.1:1/db"}
    options = [f"--env={name}={value}" for name, value in given.items()]
    folder = running.service
    container = run("docker", "run", "--detach", *options, running.image, cwd=folder).strip()
    try:
        time.sleep(3)
        began = time.monotonic()
        run("docker", "stop", "--time=30", container, cwd=folder)
        assert time.monotonic() - began < 10
        state = "{{.State.ExitCode}}"
        assert run("docker", "inspect", f"--format={state}", container, cwd=folder) == "143\n"
    finally:
        run("docker", "rm", "--force", container, cwd=folder)


@of_defaults
def test_the_image_runs_any_command(running: Containers) -> None:
    ended = start(running, "manage", "check", **variables(DEFAULTS))
    assert "no issues" in ended.stdout
    assert start(running, "python", "-c", "print(6 * 7)").stdout == "42\n"


@of_defaults
def test_an_image_without_the_packages_for_reports_names_them(running: Containers) -> None:
    dsn = {"SENTRY_DSN": "https://key@sentry.example.com/1"}
    ended = start(running, "manage", "check", **variables(DEFAULTS), **dsn)
    assert ended.returncode == 1
    assert "pip install -r requirements-observability.txt" in ended.stderr


@of_defaults
def test_the_image_contains_no_build_tools(running: Containers) -> None:
    tools = "for name in gcc cc make git curl wget; do command -v $name; done; true"
    assert start(running, "sh", "-c", tools).stdout == ""
    assert start(running, "python", "-m", "pip", "--version").returncode == 1


@of_defaults
def test_the_health_check_fails_if_the_server_does_not_answer(running: Containers) -> None:
    ended = start(running, "python", "docker/healthcheck.py", PORT="1")
    assert ended.returncode == 1


@of_defaults
def test_a_new_build_keeps_the_packages_and_contains_no_secret(
    running: Containers, tmp_path: Path
) -> None:
    def layers() -> list[str]:
        form = "--format={{json .RootFS.Layers}}"
        inspect = ["docker", "image", "inspect", form, running.image]
        found: list[str] = json.loads(run(*inspect, cwd=tmp_path))
        return found

    secret = "a-secret-of-the-developer"  # noqa: S105
    planted = [
        ".env",
        ".env.production",
        ".git/config",
        "key.pem",
        "old.sqlite3",
        "apps/.env",
        "backups/db.sql.gz",
    ]
    for name in planted:
        file = running.service / name
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as lines:
            lines.write(f"SECRET={secret}\n")
    (running.service / "apps/api/urls_v2.py").write_text('"""Changed."""\n\nurlpatterns = []\n')
    before = layers()
    running.compose("build")
    after = layers()
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]

    archive = tmp_path / "image.tar"
    run("docker", "save", f"--output={archive}", running.image, cwd=tmp_path)
    content = archive.read_bytes()
    assert b"app/manage.py" in content, "the static files are not compressed"
    assert secret.encode() not in content
    assert not [name for name in planted if f"app/{name}".encode() in content]


def replicas_migrated_once(service: Containers) -> None:
    """Check that three replicas of the web server started together with an empty database."""
    logs = service.compose("logs", "web")
    assert logs.count("Applying user.0001_initial... OK") == 1
    replicas = service.compose("ps", "--quiet", "web").split()
    restarts = run(
        "docker", "inspect", "--format={{.RestartCount}}", *replicas, cwd=service.service
    )
    assert restarts.split() == ["0", "0", "0"]


NGINX = """
events {}
http {
    %s
}
"""


@of_defaults
def test_replicas_that_start_together_migrate_once_and_share_requests_behind_nginx(
    running: Containers,
) -> None:
    """Three containers share the calls and WebSockets of one client."""
    page = (ROOT / "docs/websockets_production.md").read_text()
    (site,) = re.findall(r"^```nginx\n(map .*?)^```", page, re.MULTILINE | re.DOTALL)
    # Without the certificate. Everything else is as with one.
    site = re.sub(r"^ *ssl_certificate.*\n", "", site, flags=re.MULTILINE)
    site = site.replace("443 ssl", "80").replace("$scheme", "https").replace("127.0.0.1:", "web:")
    (running.service / "nginx.conf").write_text(NGINX % site)
    (running.service / "nginx.yml").write_text(NGINX_SERVICE)
    with another(running, "nginx.yml") as containers:
        containers.up("--scale=web=3", "nginx", "worker", "mail", "db", "redis")
        replicas_migrated_once(containers)

        walk(Api(containers.url), Mailbox(containers).read, URL_BASE)
        token = containers.token()
        with sockets(containers, "/ws/notifications/", token, count=6) as open_sockets:
            for replica in (1, 2, 3):
                assert containers.execute("sh", "-c", OPEN_SOCKETS, index=replica).strip() != "0"
            containers.shell(NOTIFY)
            for socket in open_sockets:
                assert json.loads(socket.recv(timeout=10)) == {"type": "hello"}


NGINX_SERVICE = """
services:
  web:
    ports: !reset []
    healthcheck: { interval: 2s }
  nginx:
    build:
      dockerfile_inline: |
        FROM python:3.13-slim
        RUN apt-get update && apt-get install -y --no-install-recommends nginx
        CMD ["nginx", "-g", "daemon off;"]
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf:ro
    ports:
      - "127.0.0.1:${PORT}:80"
    depends_on:
      web: { condition: service_healthy }
"""
# Connections of nginx to this container's port 8000.
OPEN_SOCKETS = "cat /proc/net/tcp | grep -c ':1F40 .* 01 ' || true"
NOTIFY = """
from apps.api.notifications import notify
from apps.user.models import User

notify(User.objects.get(), {"type": "hello"})
"""


# One port cannot be published three times.
REPLICAS = "services: { web: { ports: !reset [], healthcheck: { interval: 2s } } }"


@of_sqlite
def test_replicas_that_start_together_migrate_sqlite_once(running: Containers) -> None:
    (running.service / "replicas.yml").write_text(REPLICAS)
    with another(running, "replicas.yml") as containers:
        containers.compose("up", "--detach", "--wait", "--scale=web=3", "web")
        replicas_migrated_once(containers)


OLDER_STATIC_FILES = """
cd staticfiles
rm admin/css/base.*.css
echo '{"paths": {}, "version": "1.1", "hash": ""}' >staticfiles.json
"""


@of_sqlite
def test_outdated_static_files_in_a_volume_are_replaced(running: Containers) -> None:
    more = {
        "services": {"web": {"volumes": ["static:/app/staticfiles"]}},
        "volumes": {"static": {}},
    }
    (running.service / "static.json").write_text(json.dumps(more))
    with another(running, "static.json") as containers:
        containers.up("web")
        assert "static files copied" not in containers.printed("web")
        manifest = "staticfiles/staticfiles.json"
        whole = containers.execute("cat", manifest)
        containers.execute("sh", "-c", OLDER_STATIC_FILES)
        containers.compose("restart", "web")
        wait_until(containers.responds)
        assert containers.execute("cat", manifest) == whole
        containers.execute("sh", "-c", "cat staticfiles/admin/css/base.*.css")


def test_a_stop_of_gunicorn_in_a_channels_service_fails_no_request(
    copier: CopierFixture, short_path: Path
) -> None:
    """With the packages for error reports, without which this image would not start."""
    with production(copier, short_path, DEFAULTS) as containers:
        with (containers.service / ".env").open("a") as env:
            env.write("SERVER=gunicorn\nOBSERVABILITY=1\nSENTRY_DSN=https://key@localhost/1\n")
        containers.up("--build", "web", "db", "redis")
        assert "gunicorn" in containers.execute("sh", "-c", "cat /proc/[0-9]*/cmdline")
        stop_under_load(containers)
