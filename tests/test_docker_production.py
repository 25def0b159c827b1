"""The images and containers for production, built and running."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import OPTIONS, ROOT, in_one_worker, run
from support.containers import (
    APP_KEY,
    COMBINATIONS,
    HTTPS,
    MEETING,
    Containers,
    Mailbox,
    events_go_and_come,
    production,
    sockets,
    variables,
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
        time.sleep(2)
        began = time.monotonic()
        service.compose("stop", "web")
        assert time.monotonic() - began < 20
        readiness, responses = json.loads(load.stdout.read())
    assert readiness == 503
    assert responses.keys() == {"200"}
    assert responses["200"] > 4


def test_a_stop_fails_no_request(running: Containers) -> None:
    stop_under_load(running)
    running.up("web")


def test_data_survives_new_containers(running: Containers) -> None:
    create = "from apps.user.models import User; User(email='old@example.com', password='!').save()"
    running.shell(create)
    before = running.container("web")
    running.up("--force-recreate", "--no-deps", "web")
    assert running.container("web") != before
    count = "from apps.user.models import User; print(User.objects.filter(email__startswith='old').count())"
    assert running.shell(count) == "1"


# Tests of one variant: the default answers, or SQLite if that differs.


@pytest.fixture(scope="module", params=in_one_worker([DEFAULTS], "image"))
def image(
    request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path
) -> Iterator[Containers]:
    """The image of the default answers, without other services."""
    with production(copier, short_path, request.param) as containers:
        containers.compose("build")
        yield containers


def start(image: Containers, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the image until it exits, with only these variables."""
    options = [f"--env={name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["docker", "run", "--rm", *options, image.slug, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("role", ["web", "worker"])
def test_a_missing_variable_is_named_in_one_line(image: Containers, role: str) -> None:
    given = variables(DEFAULTS)
    stand_ins = (image.service / "docker/prod/build.env").read_text()
    required = set(re.findall(r"^(\w+)=", stand_ins, re.MULTILINE)) - {"DJANGO_SETTINGS_MODULE"}
    required.add("DJANGO_SECRET_KEY")
    assert "DATABASE_URL" in required
    for name in required:
        ended = start(image, role, **{key: given[key] for key in given.keys() - {name}})
        fault = (
            "Configuration error in api_core.settings.prod:\n"
            f"  {name}: Environment variable not set.\n"
        )
        assert (ended.returncode, ended.stdout + ended.stderr) == (1, fault)


def test_a_container_exits_if_the_database_never_answers(image: Containers) -> None:
    given = variables(DEFAULTS) | {"DATABASE_URL": "postgres://u:secret@127.0.0.1:1/db"}
    ended = start(image, **given, DATABASE_WAIT="2")
    assert ended.returncode == 1
    fault = "The database is unavailable: connection failed: "
    assert ended.stderr.splitlines()[-1].startswith(f"CommandError: {fault}")
    assert ended.stderr.count("\n") == 2
    assert "secret" not in ended.stderr


def test_a_container_stops_while_it_waits_for_the_database(image: Containers) -> None:
    given = variables(DEFAULTS) | {"DATABASE_URL": "postgres://u:p@127.0.0.1:1/db"}
    options = [f"--env={name}={value}" for name, value in given.items()]
    folder = image.service
    container = run("docker", "run", "--detach", *options, image.slug, cwd=folder).strip()
    try:
        time.sleep(3)
        began = time.monotonic()
        run("docker", "stop", "--time=30", container, cwd=folder)
        assert time.monotonic() - began < 10
        state = "{{.State.ExitCode}}"
        assert run("docker", "inspect", f"--format={state}", container, cwd=folder) == "143\n"
    finally:
        run("docker", "rm", "--force", container, cwd=folder)


def test_the_image_runs_any_command(image: Containers) -> None:
    ended = start(image, "manage", "check", **variables(DEFAULTS))
    assert "no issues" in ended.stdout
    assert start(image, "python", "-c", "print(6 * 7)").stdout == "42\n"


def test_an_image_without_the_packages_for_reports_names_them(image: Containers) -> None:
    dsn = {"SENTRY_DSN": "https://key@sentry.example.com/1"}
    ended = start(image, "manage", "check", **variables(DEFAULTS), **dsn)
    assert ended.returncode == 1
    assert "pip install -r requirements-observability.txt" in ended.stderr


def test_the_image_contains_no_build_tools(image: Containers) -> None:
    tools = "for name in gcc cc make git curl wget; do command -v $name; done; true"
    assert start(image, "sh", "-c", tools).stdout == ""
    assert start(image, "python", "-m", "pip", "--version").returncode == 1


def test_the_health_check_fails_if_the_server_does_not_answer(image: Containers) -> None:
    ended = start(image, "python", "docker/healthcheck.py", PORT="1")
    assert ended.returncode == 1


def test_no_secret_is_in_any_layer(image: Containers, tmp_path: Path) -> None:
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
        file = image.service / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"SECRET={secret}\n")
    image.compose("build")
    archive = tmp_path / "image.tar"
    run("docker", "save", f"--output={archive}", image.slug, cwd=tmp_path)
    layers = archive.read_bytes()
    assert b"app/manage.py" in layers, "the static files are not compressed"
    assert secret.encode() not in layers
    assert not [name for name in planted if f"app/{name}".encode() in layers]


def test_a_change_of_the_code_keeps_the_layer_of_the_packages(image: Containers) -> None:
    def layers() -> list[str]:
        form = "--format={{json .RootFS.Layers}}"
        found: list[str] = json.loads(run("docker", "image", "inspect", form, image.slug, cwd=code))
        return found

    code = image.service
    before = layers()
    (code / "apps/api/urls_v2.py").write_text('"""Changed."""\n\nurlpatterns = []\n')
    image.compose("build")
    after = layers()
    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


@pytest.fixture(params=OPTIONS["database"])
def empty(
    request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path
) -> Iterator[Containers]:
    """A service that was never started."""
    answers = DEFAULTS | {"database": request.param}
    with production(copier, short_path, answers) as containers:
        yield containers


def test_replicas_that_start_together_migrate_once(empty: Containers) -> None:
    # One port cannot be published three times.
    (empty.service / "replicas.yml").write_text("services: { web: { ports: !reset [] } }")
    empty.files = (*empty.files, "replicas.yml")
    empty.up("--build", "--scale=web=3")
    logs = empty.compose("logs", "web")
    assert logs.count("Applying user.0001_initial... OK") == 1
    assert len(empty.compose("ps", "--quiet", "web").split()) == 3


OLDER_STATIC_FILES = """
cd staticfiles
rm admin/css/base.*.css
echo '{"paths": {}, "version": "1.1", "hash": ""}' >staticfiles.json
"""


def test_outdated_static_files_in_a_volume_are_replaced(
    copier: CopierFixture, short_path: Path
) -> None:
    answers = DEFAULTS | {"database": "sqlite"}
    with production(copier, short_path, answers) as containers:
        more = {
            "services": {"web": {"volumes": ["static:/app/staticfiles"]}},
            "volumes": {"static": {}},
        }
        (containers.service / "static.json").write_text(json.dumps(more))
        containers.files = (*containers.files, "static.json")
        containers.up("--build")
        assert "static files copied" not in containers.printed("web")
        manifest = "staticfiles/staticfiles.json"
        whole = containers.execute("cat", manifest)
        containers.execute("sh", "-c", OLDER_STATIC_FILES)
        containers.compose("restart", "web")
        containers.up("web")
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


NGINX = """
events {}
http {
    %s
}
"""


def test_replicas_share_requests_and_websockets_behind_nginx(
    copier: CopierFixture, short_path: Path
) -> None:
    """Two containers share the calls and WebSockets of one client."""
    page = (ROOT / "docs/websockets_production.md").read_text()
    (site,) = re.findall(r"^```nginx\n(map .*?)^```", page, re.MULTILINE | re.DOTALL)
    # Without the certificate. Everything else is as with one.
    site = re.sub(r"^ *ssl_certificate.*\n", "", site, flags=re.MULTILINE)
    site = site.replace("443 ssl", "80").replace("$scheme", "https").replace("127.0.0.1:", "web:")
    with production(copier, short_path, DEFAULTS) as containers:
        (containers.service / "nginx.conf").write_text(NGINX % site)
        (containers.service / "nginx.yml").write_text(NGINX_SERVICE)
        containers.files = (*containers.files, "nginx.yml")
        containers.up("--build", "--scale=web=2")

        walk(Api(containers.url), Mailbox(containers).read, URL_BASE)
        token = containers.token()
        with sockets(containers, "/ws/notifications/", token, count=6) as open_sockets:
            for replica in (1, 2):
                assert containers.execute("sh", "-c", OPEN_SOCKETS, index=replica).strip() != "0"
            containers.shell(NOTIFY)
            for socket in open_sockets:
                assert json.loads(socket.recv(timeout=10)) == {"type": "hello"}


NGINX_SERVICE = """
services:
  web:
    ports: !reset []
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
