"""The command ``prepare_database``."""

import threading
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from apps.api.management.commands import prepare_database
from apps.api.management.commands.prepare_database import migration_lock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only moves while the command sleeps."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(
        prepare_database, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep)
    )


def test_preparation_fails_if_the_database_stays_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused\n\tIs the server running?")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    said = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("prepare_database", wait=1, stderr=said)
    fault = "The database is unavailable: connection refused Is the server running?"
    assert str(failed.value) == fault
    assert said.getvalue() == f"Waiting: {fault}\n"


def test_preparation_waits_for_the_migrations_of_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = iter(["not yet", "not yet", ""])
    monkeypatch.setattr(prepare_database, "fault_of_migrations", lambda: next(faults))
    call_command("prepare_database", by_another=True, stderr=StringIO())
    assert not list(faults)


def test_a_database_that_is_up_to_date_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(prepare_database, "migration_lock")
    call_command("prepare_database")


def test_one_process_migrates_at_a_time() -> None:
    entered = threading.Event()

    def migrate() -> None:
        with migration_lock():
            entered.set()
        connection.close()

    with migration_lock():
        another = threading.Thread(target=migrate)
        another.start()
        assert not entered.wait(0.5)
    assert entered.wait(10)
    another.join()
