"""The containers for development: start, reload and removal."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_copier.plugin import CopierFixture
from support import Answers, in_one_worker, run
from support.containers import MEETING, Containers, events_go_and_come, sockets, wait_until
from support.walk import Api, walk

pytestmark = pytest.mark.docker

# Any user but root.
OWNER = 4321


@pytest.fixture(scope="module", params=in_one_worker(MEETING, "local"))
def local(
    request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path
) -> Iterator[Containers]:
    """The development containers, with collected static files."""
    with development(copier, short_path, request.param) as containers:
        containers.up("--build", COLLECTSTATIC="1")
        yield containers


@contextmanager
def development(copier: CopierFixture, folder: Path, answers: Answers) -> Iterator[Containers]:
    """The service of docker-compose.local.yml, in a folder that does not belong to root."""
    slug = f"test-{secrets.token_hex(3)}"
    service = copier.copy(folder / slug, project_slug=slug, **answers).path
    with (service / ".env").open("a") as env:
        env.write("DJANGO_ALLOWED_HOSTS=api.example.com,127.0.0.1\nPORT=1\n")
    give(service)
    containers = Containers(service, answers, f"{slug}-local", "docker-compose.local.yml")
    try:
        yield containers
    finally:
        containers.remove()
        shutil.rmtree(service)


def give(folder: Path) -> None:
    """Change the owner of a folder if root runs the tests."""
    if os.geteuid() == 0:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, OWNER, OWNER)


class Terminal:
    """The e-mails that the service has printed, in order."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._seen = 0

    def read(self, to: str) -> str:
        """Return the text of the next e-mail, which must be to this address."""

        def printed() -> list[str]:
            texts = re.findall(
                r"^-{79}\n(From: .*?)^-{79}$",
                self._containers.printed("web"),
                flags=re.MULTILINE | re.DOTALL,
            )
            return texts[self._seen :]

        text = wait_until(printed)[0]
        self._seen += 1
        assert f"\nTo: {to}\n" in text
        return text


def test_an_account_can_be_used_from_registration_to_deletion(local: Containers) -> None:
    walk(Api(local.url), Terminal(local).read, "http://localhost:8000")


def test_each_option_works(local: Containers) -> None:
    if local.answers["use_channels"]:
        with sockets(local, "/ws/echo/") as (socket,):
            socket.send("à toi")
            assert socket.recv(timeout=10) == "à toi"
    if local.answers["use_event_sync"]:
        events_go_and_come(local, "key-of-development")


def test_static_files_are_collected_on_demand(local: Containers) -> None:
    assert (local.service / "staticfiles/admin/css/base.css").exists()


def test_a_change_of_the_source_takes_effect(local: Containers) -> None:
    file = local.service / "common/drf/health.py"
    source = file.read_text()
    api = Api(local.url)

    def answer() -> object:
        try:
            return api("GET", "health/").body
        except OSError:  # it restarts
            return None

    file.write_text(source.replace('{"status":"ok"}', '{"status":"changed"}'))
    began = time.monotonic()
    wait_until(lambda: answer() == {"status": "changed"})
    print(f"A change shows after {time.monotonic() - began:.1f} s.")
    file.write_text(source)
    wait_until(lambda: answer() == {"status": "ok"})


def test_files_written_in_a_container_belong_to_the_developer(local: Containers) -> None:
    (local.service / "apps/fresh").mkdir()
    give(local.service / "apps/fresh")
    local.execute("python", "manage.py", "startapp", "fresh", "apps/fresh")
    local.execute("pytest", "--quiet", "--no-cov", "-n0", "apps/api/tests/test_health.py")
    assert (local.service / "apps/fresh/models.py").exists()
    owner = local.service.stat().st_uid
    assert {path.lstat().st_uid for path in local.service.rglob("*")} == {owner}


def test_every_container_becomes_healthy(local: Containers) -> None:
    local.become_healthy()


def test_down_leaves_nothing(local: Containers) -> None:
    local.compose("down", "--volumes")
    project = f"--filter=label=com.docker.compose.project={local.project}"
    for things in ("container ls --all", "volume ls", "network ls"):
        command = ["docker", *things.split(), "--quiet", project]
        assert not run(*command, cwd=local.service)


THINGS = """
from django.db import models

class Thing(models.Model):
    pass
"""
NEEDS_THINGS = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("things", "__first__")]
    operations = [
        migrations.CreateModel(
            "Part",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("thing", models.ForeignKey("things.Thing", models.CASCADE)),
            ],
        )
    ]
"""


def test_run_syncdb_creates_tables_that_a_migration_needs(
    copier: CopierFixture, short_path: Path
) -> None:
    """``migrate`` alone fails: PostgreSQL refuses a reference to a table that does not exist."""
    answers = {"database": "postgres", "use_channels": False, "use_event_sync": False}
    with development(copier, short_path, answers) as containers:
        apps = containers.service / "apps"
        for file, text in {
            "things/__init__.py": "",
            "things/models.py": THINGS,
            "parts/__init__.py": "",
            "parts/migrations/__init__.py": "",
            "parts/migrations/0001_initial.py": NEEDS_THINGS,
        }.items():
            (apps / file).parent.mkdir(exist_ok=True)
            (apps / file).write_text(text)
        settings = containers.service / "api_core/settings/base.py"
        installed = settings.read_text().replace(
            '    "apps.user",\n', '    "apps.user",\n    "apps.things",\n    "apps.parts",\n'
        )
        settings.write_text(installed)
        give(containers.service)
        containers.up("--build")
        printed = containers.compose("logs", "web")
        assert 'relation "things_thing" does not exist' in printed
        assert "Creating table things_thing" in printed
        count = "from apps.things.models import Thing; print(Thing.objects.count())"
        assert containers.shell(count) == "0"
