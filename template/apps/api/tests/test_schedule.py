import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from common.schedule import jobs
from common.schedule.jobs import run_due_jobs
from common.schedule.management.commands import scheduler


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that were run. They do nothing."""
    runs: list[tuple[str, ...]] = []
    monkeypatch.setattr(jobs, "call_command", lambda *command, **_: runs.append(command))
    return runs


@pytest.mark.django_db
def test_every_command_of_the_schedule_runs(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run_due_jobs()
    lines = [record.msg for record in ours(caplog)]
    finished = {
        line["command"]: line["output"] for line in lines if line["event"] == "job_finished"
    }
    assert finished.keys() == settings.SCHEDULE.keys()
    assert finished["prune_emails"] == "0 deleted"


@pytest.mark.django_db
def test_a_command_runs_once_in_its_interval(
    settings: Settings, runs: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = ("clearsessions --verbosity 0", "prune_emails")
    settings.SCHEDULE = dict.fromkeys(commands, timedelta(days=1))
    start = timezone.now()
    for hours, count in ((0, 1), (23, 1), (24, 2), (47, 2), (49, 3)):
        monkeypatch.setattr(timezone, "now", lambda at=start + timedelta(hours=hours): at)
        run_due_jobs()
        assert runs == [("clearsessions", "--verbosity", "0"), ("prune_emails",)] * count


@pytest.mark.django_db
def test_a_failing_command_is_logged_and_the_others_run(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings.SCHEDULE = dict.fromkeys(("no_such_command", "clearsessions"), timedelta(days=1))
    run_due_jobs()
    assert [(line["event"], line["command"]) for line in map(attrgetter("msg"), ours(caplog))] == [
        ("job_failed", "no_such_command"),
        ("job_finished", "clearsessions"),
    ]


@pytest.mark.django_db(transaction=True)
def test_only_one_of_several_schedulers_runs_a_command(
    settings: Settings, runs: list[tuple[str, ...]]
) -> None:
    def start(_scheduler: int) -> None:
        run_due_jobs()
        connection.close()

    settings.SCHEDULE = {"clearsessions": timedelta(days=1)}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert runs == [("clearsessions",)]


@pytest.mark.django_db
def test_the_scheduler_waits_for_the_database_and_stops_on_sigterm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds: Iterator[Any] = iter([OperationalError("no database"), None])

    def run() -> None:
        error = next(rounds)
        if error:
            raise error
        os.kill(os.getpid(), signal.SIGTERM)

    caplog.set_level("INFO")
    monkeypatch.setattr(scheduler, "POLL", 0)
    monkeypatch.setattr(scheduler, "close_old_connections", lambda: None)
    monkeypatch.setattr(scheduler, "run_due_jobs", run)
    call_command("scheduler")
    assert [record.msg["event"] for record in ours(caplog)] == [
        "scheduler_started",
        "schedule_not_read",
        "scheduler_stopped",
    ]


def ours(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name.startswith("common.schedule")]
