"""Tasks in development."""

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import transaction
from django.tasks import task
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from common.tasks import DevelopmentBackend

ran: list[str] = []


@task
def remember(text: str) -> None:
    ran.append(text)


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def test_a_task_runs_in_this_process_after_the_commit(transactional_db: None) -> None:
    assert isinstance(remember.get_backend(), DevelopmentBackend)
    with transaction.atomic():
        remember.enqueue("now")
        assert ran == []
    assert ran == ["now"]


def test_a_task_of_async_code_runs_too(transactional_db: None) -> None:
    async_to_sync(remember.aenqueue)("soon")
    assert ran == ["soon"]


def test_a_task_of_a_transaction_that_is_rolled_back_does_not_run(transactional_db: None) -> None:
    with transaction.atomic():
        remember.enqueue("never")
        transaction.set_rollback(True)
    assert ran == []


def test_a_task_that_a_worker_has_taken_does_not_run_twice(transactional_db: None) -> None:
    with transaction.atomic():
        remember.enqueue("taken")
        DBTaskResult.objects.get().claim("worker")
    assert ran == []


def test_a_deferred_task_runs_when_it_is_due(transactional_db: None) -> None:
    remember.using(run_after=timezone.now() + timedelta(hours=1)).enqueue("later")
    remember.using(run_after=timezone.now() - timedelta(seconds=1)).enqueue("due")
    assert ran == []
    call_command("db_worker", batch=True, startup_delay=False)
    assert ran == ["due"]
