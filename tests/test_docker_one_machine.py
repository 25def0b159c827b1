"""One machine with HTTPS: both Compose files, and the commands in the service's README."""

import json
import os
import secrets
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import Answers, copy, in_one_worker, name_of, run
from support.containers import COMBINATIONS, Containers, outside
from support.service_docs import commands, section
from support.walk import Api
from websockets.sync.client import connect

pytestmark = pytest.mark.docker

FILES = "docker-compose.yml:docker-compose.vm.yml"
PASSWORD = "correct horse battery"  # noqa: S105

# Debian's Caddy instead of the published image, with the environment of that image. Its internal
# authority signs the certificate of localhost.
CADDY = """
services:
  caddy:
    image: {slug}-caddy
    pull_policy: never
    build:
      dockerfile_inline: |
        FROM python:3.13-slim
        RUN apt-get update && apt-get install -y --no-install-recommends caddy
        ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
        CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile"]
    ports: !override ["127.0.0.1:${{PORT}}:443"]
    # So that --wait waits for the certificate.
    healthcheck:
      test: ["CMD", "python", "-c", "{handshake}"]
      interval: 1s
      retries: 60
"""
HANDSHAKE = "import ssl; ssl.get_server_certificate(('localhost', 443))"
CREATE_USER = (
    "from apps.user.models import User; User(email='new@example.com', password='!').save()"
)
COUNT_USERS = "from apps.user.models import User; print(User.objects.count())"


@pytest.mark.parametrize("answers", COMBINATIONS, ids=name_of)
def test_the_files_are_valid_and_only_caddy_has_ports(
    template: Path, tmp_path: Path, answers: Answers
) -> None:
    files = [*FILES.split(":"), ".env"]
    service = copy(template, tmp_path / "service", only=files, **answers)
    required = {"DOMAIN": "api.example.com"}
    names = {"web", "worker", "scheduler", "caddy"}
    if answers["database"] == "postgres":
        required["POSTGRES_PASSWORD"] = "a-password"  # noqa: S105
        names.add("db")
    if answers["use_channels"]:
        names.add("redis")
    if answers["use_event_sync"]:
        names.add("relay")
    config = ["docker", "compose", "config", "--format=json"]
    for name in required:
        others = {other: value for other, value in required.items() if other != name}
        with pytest.raises(pytest.fail.Exception, match=f"variable {name} is missing .*: Set it"):
            run(*config, cwd=service, **others, COMPOSE_FILE=FILES)
    services = json.loads(run(*config, cwd=service, **required, COMPOSE_FILE=FILES))["services"]
    assert services.keys() == names
    assert {name for name, values in services.items() if values.get("ports")} == {"caddy"}
    environment = services["web"]["environment"]
    assert environment["URL_BASE"] == "https://api.example.com"
    assert environment["DJANGO_ALLOWED_HOSTS"] == "api.example.com"


class Machine(Containers):
    """The containers of a service whose .env is as in the README."""

    def __init__(self, service: Path, answers: Answers, slug: str) -> None:
        super().__init__(service, answers, slug)
        readme = section((service / "README.md").read_text(), "One machine with HTTPS")
        lines = commands(readme)
        self.commands = [line for line in lines if line.startswith(("docker ", "sh "))]
        env = dict(line.split("=", 1) for line in lines if line.split("=")[0].isupper())
        env = {
            name: secrets.token_hex(32) if value == "SECRET" else value
            for name, value in env.items()
        }
        env |= {
            "COMPOSE_FILE": f"{env['COMPOSE_FILE']}:outside.json:caddy.yml",
            "DOMAIN": "localhost",
            "EMAIL_HOST": "mail",
            "EMAIL_PORT": "25",
            "EMAIL_HOST_USER": "",
        }
        (service / ".env").write_text("".join(f"{name}={env[name]}\n" for name in env))
        services = {"mail": outside(answers)["mail"] | {"stop_grace_period": "0s"}}
        (service / "outside.json").write_text(json.dumps({"services": services}))
        (service / "caddy.yml").write_text(CADDY.format(slug=slug, handshake=HANDSHAKE))

    def run(self, command: str, *arguments: str) -> str:
        """Run a command of the README, with more arguments."""
        assert command in self.commands
        return run(*command.split(), *arguments, cwd=self.service, PORT=str(self.port))

    def create_administrator(self) -> None:
        """Run the command of the README, which asks for the password, without a terminal."""
        command = "docker compose exec web python manage.py createsuperuser"
        assert command in self.commands
        words = command.split()
        words[3:3] = ["--no-TTY", f"--env=DJANGO_SUPERUSER_PASSWORD={PASSWORD}"]
        words += ["--no-input", "--email=admin@example.com"]
        run(*words, cwd=self.service, PORT=str(self.port))

    def restore(self, path: str) -> None:
        """Run the command of the README with another backup."""
        (command,) = [line for line in self.commands if "restore.sh" in line]
        *words, example = command.split()
        assert Path(example).suffix == Path(path).suffix
        run(*words, path, cwd=self.service, PORT=str(self.port))

    def tls(self) -> ssl.SSLContext:
        authority = "/data/caddy/pki/authorities/local/root.crt"
        return ssl.create_default_context(cadata=self.execute("cat", authority, service="caddy"))

    def log_in(self) -> Api:
        """Log in as the administrator of the README."""
        api = Api(f"https://localhost:{self.port}", tls=self.tls())
        login = api("POST", "auth/login/", {"email": "admin@example.com", "password": PASSWORD})
        assert login.status == 200, login
        api.token = login.body["token"]
        return api


@pytest.fixture(
    scope="module", params=in_one_worker([COMBINATIONS[0], COMBINATIONS[-1]], "machine")
)
def machine(
    request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path
) -> Iterator[Machine]:
    slug = f"test-{secrets.token_hex(3)}"
    answers = request.param | {"language_code": "en-us"}
    service = copier.copy(short_path / slug, project_slug=slug, **answers).path
    running = Machine(service, answers, slug)
    try:
        running.run("docker compose up -d --build", "--wait")
        running.create_administrator()
        yield running
    finally:
        running.remove()


def test_the_administrator_can_log_in_over_https(machine: Machine) -> None:
    api = machine.log_in()
    assert api("GET", "health/ready/").body["status"] == "ok"
    assert api("GET", "users/me/").body["user"]["email"] == "admin@example.com"
    if machine.answers["use_channels"]:
        headers = {"Authorization": f"Bearer {api.token}"}
        url = f"wss://localhost:{machine.port}/ws/echo/"
        with connect(url, additional_headers=headers, ssl=machine.tls()) as socket:
            socket.send("à toi")
            assert socket.recv(timeout=20) == "à toi"


def test_a_backup_can_be_restored(machine: Machine) -> None:
    path = machine.run("sh docker/vm/backup.sh").strip()
    backup = machine.service / path
    assert backup.stat().st_mode & 0o777 == 0o600
    assert list(backup.parent.iterdir()) == [backup]
    machine.shell(CREATE_USER)
    assert machine.shell(COUNT_USERS) == "2"

    machine.restore(path)
    assert machine.shell(COUNT_USERS) == "1"
    assert machine.log_in()("GET", "users/me/").status == 200


def test_a_damaged_backup_changes_nothing(machine: Machine) -> None:
    path = machine.run("sh docker/vm/backup.sh").strip()
    backup = machine.service / path
    backup.write_bytes(backup.read_bytes()[: backup.stat().st_size // 2])
    before = machine.container("web")
    with pytest.raises(pytest.fail.Exception):
        machine.restore(path)
    assert machine.container("web") == before
    assert machine.log_in()("GET", "users/me/").status == 200


def test_old_backups_are_deleted(machine: Machine) -> None:
    newest = machine.service / machine.run("sh docker/vm/backup.sh").strip()
    day = 24 * 60 * 60
    for age in (10, 20):
        backup = newest.with_stem(f"{age}-days-old")
        backup.touch()
        os.utime(backup, (0, time.time() - age * day))
    machine.run("sh docker/vm/backup.sh")
    assert {file.stem for file in newest.parent.glob("*-old*")} == {"10-days-old"}
