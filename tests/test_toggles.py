"""A service with a changed answer becomes the same as a fresh copy with that answer."""

import re
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from support import OPTIONS, ROOT, VARIANTS, Answers, name_of, tracked
from support.living import ADD_DATA, ANA, READ_DATA, Service
from support.updating import (
    assert_same,
    commit_all,
    committed,
    conflicts,
    git,
    part_of,
    update,
)

pytestmark = pytest.mark.updates

PAGE = (ROOT / "docs/update.md").read_text()

# Each change of an answer, once with many options on and once with few. Tests that share copies
# share a worker.
TOGGLES = [
    pytest.param(
        base | {question: old},
        {question: new},
        id=f"{question}-{old}-{new}-{amid}",
        marks=pytest.mark.xdist_group(f"toggles-{amid}"),
    )
    for question, values in OPTIONS.items()
    for old, new in permutations(values, 2)
    for amid, base in {"many": VARIANTS[0], "few": VARIANTS[-1]}.items()
]


@pytest.fixture(scope="session")
def variable(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history with only the files that answers change.

    Those without placeholders are represented by the first and the last file of their folder: the
    first one is often empty.
    """
    rows = (ROOT / "copier.yml").read_text()
    owned = re.findall(r"{% if .*? %}/(.*?){% endif %}", rows)
    assert len(owned) == rows.count('endif %}"\n')

    def choose(files: list[Path]) -> set[Path]:
        chosen = {file for file in files if file.suffix == ".jinja"}
        others = [file for file in files if any(file.is_relative_to(path) for path in owned)]
        for folder in {file.parent for file in others}:
            siblings = [file for file in others if file.parent == folder]
            chosen |= {siblings[0], siblings[-1]}
        return chosen

    return part_of(history, tmp_path_factory.mktemp("variable") / "template", choose)


@pytest.fixture(scope="session")
def copy_with(
    variable: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Answers], Path]:
    """Return a function that generates a service, once for each set of answers."""
    copies: dict[str, Path] = {}

    def copy_with(answers: Answers) -> Path:
        name = name_of(answers)
        if name not in copies:
            folder = tmp_path_factory.mktemp("copy") / "service"
            # The default follows the language, but an update keeps the previous answer.
            copies[name] = committed(variable, folder, None, time_zone="Europe/Lisbon", **answers)
        return copies[name]

    return copy_with


@pytest.mark.parametrize(("before", "change"), TOGGLES)
def test_a_changed_answer_ends_as_a_fresh_copy(
    copy_with: Callable[[Answers], Path], tmp_path: Path, before: Answers, change: Answers
) -> None:
    service = shutil.copytree(copy_with(before), tmp_path / "service")
    update(service, **change)
    assert_same(service, copy_with(before | change))
    assert not conflicts(service)


def test_edits_in_the_files_of_an_option_can_be_found_after_it_is_turned_off(
    small_history: Path, tmp_path: Path
) -> None:
    """Git shows the deleted files, as docs/update.md describes, and .rej files have the edits."""
    theirs = "common/embedded_postgres/base.py"
    note = "\n\nROOM = 12\n"
    service = committed(small_history, tmp_path / "service", None, database="postgres")
    (service / theirs).write_text((service / theirs).read_text() + note)
    mine = service / "common/embedded_postgres/mine.py"
    mine.write_text("ROOM = 12\n")
    commit_all(service)

    update(service, database="sqlite")
    deleted = git(service, "ls-files", "--deleted").split()
    assert deleted == [
        "apps/api/tests/test_database_pool.py",
        "common/database_pool.py",
        "common/embedded_postgres/__init__.py",
        theirs,
        "common/embedded_postgres/server.py",
    ]
    assert mine.exists()
    assert note in git(service, "show", f"HEAD:{theirs}")
    changes = git(service, "log", "--format=%s", "--name-only", "--diff-filter=M", "--", *deleted)
    assert changes.split() == ["Mine", theirs]

    git(service, "reset", "--hard", "--quiet")
    git(service, "clean", "--force", "-d", "--quiet")
    update(service, conflict="rej", database="sqlite")
    rejected = [file for file in tracked(service) if file.suffix == ".rej"]
    assert rejected == [Path(f"{theirs}.rej")]
    assert "+ROOM = 12\n" in (service / rejected[0]).read_text()


# Installed, with data


@pytest.fixture(scope="session")
def untested(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history without the tests of the services, which do not have to be updated here."""

    def choose(files: list[Path]) -> list[Path]:
        return [file for file in files if "tests" not in file.parts]

    return part_of(history, tmp_path_factory.mktemp("untested") / "template", choose)


# In one program, because each start of manage.py also starts PostgreSQL.
MIGRATE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("makemigrations", "--check", "--dry-run", verbosity=0)
"""


def documented(start: str) -> list[str]:
    """Return the arguments of the manage.py command in docs/update.md that begins so."""
    (line,) = re.findall(rf"^ {{4}}uv run manage\.py ({start}.*)$", PAGE, flags=re.MULTILINE)
    return str(line).split()


def moved_to(service: Service, kind: str) -> None:
    """Move the rows from one database to the other, as docs/update.md describes."""
    service.manage(*documented("dumpdata"))
    update(service.folder, database=kind)
    assert not conflicts(service.folder)
    service.install()
    service.shell(MIGRATE)
    service.manage(*documented("loaddata"))
    (service.folder.parent / "data.json").unlink()
    commit_all(service.folder)


def test_rows_move_from_one_database_to_the_other(untested: Path, short_path: Path) -> None:
    folder = committed(untested, short_path / "moved" / "service", None, database="sqlite")
    service = Service(folder)
    service.shell(MIGRATE + ADD_DATA)
    moved_to(service, "postgres")
    # New rows get higher ids than the old ones.
    assert service.shell(READ_DATA + ADD_DATA.replace("ana@", "bia@")) == ANA

    (folder / "db.sqlite3").unlink()
    moved_to(service, "sqlite")
    assert service.shell(READ_DATA + ADD_DATA.replace("ana@", "eva@")) == ANA
    # The previous database still exists, and Git ignores it.
    assert (folder / ".postgres/PG_VERSION").exists()
    assert not [file for file in tracked(folder) if ".postgres" in file.parts]


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
REMOVE_TYPES = """
call_command("remove_stale_contenttypes", "--include-stale-apps", "--no-input", verbosity=0)
call_command("dumpdata", "contenttypes", "auth.permission")
"""


def changed(service: Service, code: str, **answers: Any) -> str:
    """Change answers, install and migrate, as docs/update.md describes, then run a program.

    Return the program's output.
    """
    update(service.folder, **answers)
    assert not conflicts(service.folder)
    service.install()
    commit_all(service.folder)
    said = service.shell(MIGRATE + READ_DATA + code)
    assert said.startswith(ANA)
    return said.removeprefix(ANA)


@pytest.mark.parametrize("database", OPTIONS["database"])
def test_events_stay_in_the_database_when_event_sync_is_turned_off(
    untested: Path, short_path: Path, database: str
) -> None:
    few, many = ({**answers, "database": database} for answers in (VARIANTS[-1], VARIANTS[0]))
    service = Service(committed(untested, short_path / f"events-{database}", None, **few))
    service.shell(MIGRATE + ADD_DATA)

    assert changed(service, ADD_EVENT, **many) == ""
    assert changed(service, READ_TABLE, use_event_sync=False) == "rows: 1\n"
    assert changed(service, READ_EVENTS, use_event_sync=True) == EVENTS

    # The table is dropped before the app is removed.
    service.manage(*documented("migrate event_sync"))
    said = changed(service, READ_TABLES + REMOVE_TYPES, use_event_sync=False)
    assert said.startswith("table: False\n")
    assert "event_sync" not in said.removeprefix("table: False\n")
