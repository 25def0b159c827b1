"""Services that are installed, hold data, and run their own tests after an update."""

import re
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import Failed
from edits import edit, insert, missing
from support import ROOT, UV, Answers, run, tracked
from test_locks import LOCKS, locked
from updating import (
    RELEASES,
    commit_all,
    committed,
    conflicts,
    fresh,
    git,
    later_release,
    point_to,
    update,
)

PAGE = (ROOT / "docs/update.md").read_text()

ADD_DATA = """
from apps.user.models import User
user = User.objects.create_user("ana@example.com", "a long password", first_name="Ana")
"""
READ_DATA = """
from apps.user.models import User
print("first name:", User.objects.get(email="ana@example.com").first_name)
"""
ANA = "first name: Ana\n"


class Service:
    """An installed service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(UV, "venv", "--quiet", cwd=folder)
        self.install()

    def install(self) -> None:
        lock = ["--require-hashes", "--requirement", "requirements-dev.txt"]
        run(UV, "pip", "install", "--quiet", *lock, cwd=self.folder)

    def run(self, program: str, *arguments: str) -> str:
        return run(self.folder / ".venv/bin" / program, *arguments, cwd=self.folder)

    def manage(self, *arguments: str) -> str:
        return self.run("python", "manage.py", *arguments)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--verbosity=0", "--command", code)

    def lock(self) -> None:
        """Lock anew, by the commands that docs/work.md gives."""
        page = (ROOT / "docs/work.md").read_text()
        commands = re.findall(r"^ {4}uv (pip compile .*)$", page, flags=re.MULTILINE)
        assert len(commands) == len(LOCKS)
        for command in commands:
            run(UV, *command.split(), "--quiet", cwd=self.folder)


@pytest.fixture
def service(history: Path, short_path: Path) -> Service:
    """A service of the oldest release, with a team's edits and a user."""
    folder = committed(history, short_path / "edited", RELEASES[0])
    edit(folder)
    service = Service(folder)
    service.lock()
    service.install()
    service.manage("makemigrations", "note")
    service.run("ruff", "check", "--fix", "--quiet")
    service.run("ruff", "format", "--quiet")
    commit_all(folder)
    service.manage("migrate")
    service.shell(ADD_DATA)
    return service


def test_an_edited_service_passes_its_tests(
    history: Path, tmp_path: Path, service: Service
) -> None:
    folder = service.folder
    update(folder)
    # The locks are the only files that both changed: ours are taken, and locked anew.
    assert conflicts(folder) <= set(LOCKS)
    for name in conflicts(folder):
        git(folder, "checkout", "--quiet", "--theirs", name)
    assert not missing(folder)
    service.lock()
    other = fresh(history, tmp_path / "fresh", like=folder)
    for name in LOCKS:
        ours, theirs = locked(other / name), locked(folder / name)
        assert theirs == ours | {"python-slugify": "8.0.4", "text-unidecode": "1.3"}

    service.install()
    service.manage("makemigrations", "--check", "--dry-run")
    service.manage("migrate")
    assert service.shell(READ_DATA) == ANA
    service.run("ruff", "check")
    service.run("ruff", "format", "--check")
    service.run("mypy")
    service.run("pytest", "--quiet")
    commit_all(folder)

    # Then the template adds a field to the user too: two migrations follow the same one.
    later = later_release(history, tmp_path / "later", add_nickname)
    point_to(folder, later)
    update(folder)
    assert not conflicts(folder)
    with pytest.raises(Failed, match="Conflicting migrations detected"):
        service.manage("makemigrations", "--check")
    service.manage("makemigrations", "--merge", "--no-input")
    service.manage("migrate")
    assert service.shell(READ_DATA) == ANA
    service.manage("makemigrations", "--check", "--dry-run")
    service.run("pytest", "--quiet", "--no-cov", "apps/user")


def add_nickname(template: Path) -> None:
    """What a release would do that adds a field to the user."""
    insert(
        template,
        "apps/user/models.py",
        '    nickname = models.CharField(_("nickname"), max_length=100, blank=True)\n',
        before="    is_active = ",
    )
    insert(template, "apps/user/api/serializers.py", '    "nickname",\n', before='    "is_active",')
    (template / "apps/user/migrations/0002_user_nickname.py").write_text(
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    dependencies = [("user", "0001_initial")]\n\n'
        "    operations = [\n"
        "        migrations.AddField(\n"
        '            model_name="user",\n'
        '            name="nickname",\n'
        "            field=models.CharField(\n"
        '                blank=True, max_length=100, verbose_name="nickname"\n'
        "            ),\n"
        "        ),\n"
        "    ]\n"
    )


# An option that comes, goes and comes back, and a database that is exchanged, on one service.

FEW = {
    "database": "sqlite",
    "use_channels": False,
    "use_event_sync": False,
    "use_docker": False,
    "ci_provider": "none",
}
MANY = {"use_channels": True, "use_event_sync": True, "use_docker": True, "ci_provider": "github"}

ADD_EVENT = """
from apps.event_sync.managers.producer_msg import ProducerMsg
ProducerMsg(
    apps={"target": ["billing"]}, obj_type="invoice", obj_data={"id": 7}, obj_cmd="put"
).handle_msg_sync()
"""
READ_EVENTS = """
from apps.event_sync.models import EventSync
print("events:", *EventSync.objects.values_list("obj_data__id", flat=True))
"""
EVENTS = "events: 7\n"
READ_TABLE = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM event_sync_eventsync")
    print("rows:", *cursor.fetchone())
"""
READ_TABLES = """
from django.db import connection
print("table:", "event_sync_eventsync" in connection.introspection.table_names())
"""


def changed(service: Service, **answers: Any) -> None:
    """Change answers, install, migrate and commit, as docs/update.md tells."""
    update(service.folder, **answers)
    assert not conflicts(service.folder)
    service.install()
    service.manage("migrate")
    service.manage("makemigrations", "--check", "--dry-run")
    commit_all(service.folder)
    assert service.shell(READ_DATA) == ANA


def documented(start: str) -> list[str]:
    """The arguments of the command of manage.py in docs/update.md that starts so."""
    (line,) = re.findall(rf"^ {{4}}uv run manage\.py ({start}.*)$", PAGE, flags=re.MULTILINE)
    return str(line).split()


def moved_to(service: Service, kind: str) -> None:
    """Take the rows from one database to the other, as docs/update.md tells."""
    service.manage(*documented("dumpdata"))
    update(service.folder, database=kind)
    service.install()
    service.manage("migrate")
    service.manage(*documented("loaddata"))
    (service.folder.parent / "data.json").unlink()
    commit_all(service.folder)
    assert service.shell(READ_DATA) == ANA
    assert service.shell(READ_EVENTS) == EVENTS


def test_data_survives_options_that_come_and_go(history: Path, short_path: Path) -> None:
    folder = committed(history, short_path / "toggled" / "service", None, **FEW)
    service = Service(folder)
    service.manage("migrate")
    service.shell(ADD_DATA)

    changed(service, **MANY)
    service.shell(ADD_EVENT)
    assert service.shell(READ_EVENTS) == EVENTS

    changed(service, use_event_sync=False)
    assert service.shell(READ_TABLE) == "rows: 1\n"

    changed(service, use_event_sync=True)
    assert service.shell(READ_EVENTS) == EVENTS

    moved_to(service, "postgres")
    # New rows get numbers after the old ones.
    service.shell(ADD_DATA.replace("ana@", "bia@"))
    service.shell(ADD_EVENT.replace("7", "8"))
    service.run("pytest", "--quiet")
    assert service.shell(READ_EVENTS) == "events: 8 7\n"
    assert not tracked_database(folder)


def test_a_table_is_dropped_before_its_app_goes(history: Path, short_path: Path) -> None:
    folder = committed(history, short_path / "dropped" / "service", None)
    service = Service(folder)
    service.manage("migrate")
    service.shell(ADD_DATA)
    service.shell(ADD_EVENT)
    moved_to(service, "sqlite")
    assert (folder / ".postgres").is_dir()
    assert not tracked_database(folder)

    service.manage(*documented("migrate event_sync"))
    assert service.shell(READ_TABLES) == "table: False\n"
    changed(service, use_event_sync=False, use_channels=False)
    service.manage("remove_stale_contenttypes", "--include-stale-apps", "--no-input")
    assert "event_sync" not in service.manage("dumpdata", "contenttypes", "auth.permission")
    service.run("pytest", "--quiet")


def tracked_database(folder: Path) -> list[Path]:
    """Files of a database that went into Git."""
    return [
        file for file in tracked(folder) if "postgres" in file.parts[0] or "sqlite" in file.name
    ]


def test_what_was_edited_in_an_option_that_goes(history: Path, tmp_path: Path) -> None:
    """Git shows each file that goes; --conflict rej writes the edits beside it."""
    consumer = "apps/api/consumers.py"
    note = "\n\nROOM = 12\n"
    service = committed(history, tmp_path / "service", None)
    (service / consumer).write_text((service / consumer).read_text() + note)
    mine = service / "apps/event_sync/mine.py"
    mine.write_text("ROOM = 12\n")
    commit_all(service)
    going: Answers = {"use_channels": False, "use_event_sync": False}

    update(service, **going)
    deleted = git(service, "ls-files", "--deleted").split()
    assert consumer in deleted
    assert mine.exists()
    assert note in git(service, "show", f"HEAD:{consumer}")
    changes = git(service, "log", "--format=%s", "--name-only", "--diff-filter=M", "--", *deleted)
    assert changes.split() == ["Mine", consumer]

    git(service, "reset", "--hard", "--quiet")
    git(service, "clean", "--force", "-d", "--quiet")
    update(service, conflict="rej", **going)
    rejected = [file for file in tracked(service) if file.suffix == ".rej"]
    assert rejected == [Path(f"{consumer}.rej")]
    assert "+ROOM = 12\n" in (service / rejected[0]).read_text()
