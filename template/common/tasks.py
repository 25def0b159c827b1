"""A translated name for django-tasks-db, and a task backend for development."""

from typing import Any

from django.db import transaction
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.backends.immediate import ImmediateBackend
from django.utils.translation import gettext_lazy as _
from django_tasks_db import DatabaseBackend
from django_tasks_db.apps import TasksAppConfig


class TasksConfig(TasksAppConfig):
    verbose_name = _("Tasks")  # type: ignore[assignment]  # lazy, as in Django's own


class DevelopmentBackend(DatabaseBackend):
    """Run a task in this process after the commit. One with ``run_after`` waits for ``db_worker``."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._immediate = ImmediateBackend(alias, params)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result: Any = super().enqueue(task, args, kwargs)
        if not task.run_after:
            transaction.on_commit(lambda: self._run(result))
        return result

    def _run(self, result: Any) -> None:
        from django_tasks_db.models import DBTaskResult  # noqa: PLC0415 - apps are loaded first

        # A worker that runs in another terminal may have taken the task.
        waiting = DBTaskResult.objects.ready().filter(pk=result.id)
        if waiting.delete()[0]:
            self._immediate.enqueue(result.task, result.args, result.kwargs)

    # It calls enqueue() in a thread.
    aenqueue = BaseTaskBackend.aenqueue  # type: ignore[assignment]
