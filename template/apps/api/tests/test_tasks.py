"""Tasks in development."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.tasks import TaskResultStatus, task
from django.utils import timezone

from common.tasks import DevelopmentBackend

ran: list[str] = []


@task
def remember(text: str) -> None:
    ran.append(text)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def test_a_task_runs_immediately_in_development(db: None) -> None:
    assert isinstance(remember.get_backend(), DevelopmentBackend)
    result = remember.enqueue("now")
    assert (ran, result.status) == (["now"], TaskResultStatus.SUCCESSFUL)


def test_a_deferred_task_runs_when_it_is_due(transactional_db: None) -> None:
    remember.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")
    remember.using(run_after=timezone.now() - timedelta(seconds=1)).enqueue("due")
    assert ran == []
    call_command("db_worker", batch=True, startup_delay=False)
    assert ran == ["due"]
