"""A translated name for django-tasks-db, and a task backend for development."""

from typing import Any

from asgiref.sync import sync_to_async
from django.tasks.backends.immediate import ImmediateBackend
from django.utils.translation import gettext_lazy as _
from django_tasks_db import DatabaseBackend
from django_tasks_db.apps import TasksAppConfig


class TasksConfig(TasksAppConfig):
    verbose_name = _("Tasks")  # type: ignore[assignment]  # lazy, as in Django's own


class DevelopmentBackend(DatabaseBackend):
    """Run tasks immediately, except for those with ``run_after``, which wait for ``db_worker``."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._immediate = ImmediateBackend(alias, params)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        if task.run_after:
            return super().enqueue(task, args, kwargs)
        return self._immediate.enqueue(task, args, kwargs)

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return await sync_to_async(self.enqueue)(task, args, kwargs)
