"""A service with a changed answer becomes the same as a fresh copy with that answer."""

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from support import OPTIONS, ROOT, VARIANTS, Answers, tracked
from support.living import ADD_DATA, ANA, READ_DATA, Service
from support.updating import (
    assert_same,
    commit_all,
    committed,
    conflicts,
    fresh,
    git,
    later_release,
    update,
)

PAGE = (ROOT / "docs/update.md").read_text()

# Each change of an answer, once with many options on and once with few.
TOGGLES = [
    pytest.param(base | {question: old}, {question: new}, id=f"{question}-{old}-{new}-{amid}")
    for question, values in OPTIONS.items()
    for old, new in permutations(values, 2)
    for amid, base in {"many": VARIANTS[0], "few": VARIANTS[-1]}.items()
]


@pytest.fixture(scope="session")
def variable(history: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history with a newest version that only has the files that answers change.

    Copier needs half the time for them.
    """
    rows = (ROOT / "copier.yml").read_text()
    owned = re.findall(r"{% if .*? %}/(.*?){% endif %}", rows)
    assert len(owned) == rows.count('endif %}"\n')

    def change(template: Path) -> None:
        for file in tracked(template):
            is_owned = any(file.is_relative_to(path) for path in owned)
            if file.suffix != ".jinja" and not is_owned:
                (template / file).unlink()

    return later_release(history, tmp_path_factory.mktemp("variable") / "template", change)


@pytest.mark.parametrize(("before", "change"), TOGGLES)
def test_a_changed_answer_ends_as_a_fresh_copy(
    variable: Path, tmp_path: Path, before: Answers, change: Answers
) -> None:
    service = committed(variable, tmp_path / "service", None, **before)
    update(service, **change)
    assert_same(service, fresh(variable, tmp_path / "fresh", like=service))
    assert not conflicts(service)


def test_edits_in_the_files_of_an_option_can_be_found_after_it_is_turned_off(
    history: Path, tmp_path: Path
) -> None:
    """Git shows the deleted files, as docs/update.md describes, and .rej files have the edits."""
    theirs = "common/embedded_postgres/base.py"
    note = "\n\nROOM = 12\n"
    service = committed(history, tmp_path / "service", None, database="postgres")
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
    service.manage("migrate")
    service.manage(*documented("loaddata"))
    (service.folder.parent / "data.json").unlink()
    commit_all(service.folder)
    assert service.shell(READ_DATA) == ANA


def test_rows_move_from_one_database_to_the_other(history: Path, short_path: Path) -> None:
    folder = committed(history, short_path / "moved" / "service", None, database="sqlite")
    service = Service(folder)
    service.manage("migrate")
    service.shell(ADD_DATA)
    moved_to(service, "postgres")
    # New rows get higher ids than the old ones.
    service.shell(ADD_DATA.replace("ana@", "bia@"))
    service.manage("makemigrations", "--check", "--dry-run")

    (folder / "db.sqlite3").unlink()
    moved_to(service, "sqlite")
    service.shell(ADD_DATA.replace("ana@", "eva@"))
    service.run("pytest", "-n0", "--quiet", "--no-cov", "apps/user")
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


def changed(service: Service, **answers: Any) -> None:
    """Change answers, install, migrate and commit, as docs/update.md describes."""
    update(service.folder, **answers)
    assert not conflicts(service.folder)
    service.install()
    service.manage("migrate")
    service.manage("makemigrations", "--check", "--dry-run")
    commit_all(service.folder)
    assert service.shell(READ_DATA) == ANA


@pytest.mark.parametrize("database", OPTIONS["database"])
def test_events_stay_in_the_database_when_event_sync_is_turned_off(
    history: Path, short_path: Path, database: str
) -> None:
    before = VARIANTS[-1] | {"database": database}
    folder = committed(history, short_path / f"events-{database}", None, **before)
    service = Service(folder)
    service.manage("migrate")
    service.shell(ADD_DATA)

    changed(service, **{name: VARIANTS[0][name] for name in before if name != "database"})
    service.shell(ADD_EVENT)
    changed(service, use_event_sync=False)
    assert service.shell(READ_TABLE) == "rows: 1\n"
    changed(service, use_event_sync=True)
    assert service.shell(READ_EVENTS) == EVENTS

    # The table is dropped before the app is removed.
    service.manage(*documented("migrate event_sync"))
    assert service.shell(READ_TABLES) == "table: False\n"
    changed(service, use_event_sync=False)
    service.manage("remove_stale_contenttypes", "--include-stale-apps", "--no-input")
    assert "event_sync" not in service.manage("dumpdata", "contenttypes", "auth.permission")
