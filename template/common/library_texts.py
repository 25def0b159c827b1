"""Texts of libraries that are translated here, in place of the libraries. For ``makemessages``."""

from django.utils.translation import gettext_noop

LIBRARY_TEXTS = [
    gettext_noop("You do not have permission to perform this action."),
    gettext_noop("- Select an option -"),
    gettext_noop("Task Result"),
    gettext_noop("Task Results"),
    gettext_noop("enqueued at"),
    gettext_noop("started at"),
    gettext_noop("finished at"),
    gettext_noop("args kwargs"),
    gettext_noop("priority"),
    gettext_noop("task path"),
    gettext_noop("worker id"),
    gettext_noop("queue name"),
    gettext_noop("backend name"),
    gettext_noop("run after"),
    gettext_noop("return value"),
    gettext_noop("exception class path"),
    gettext_noop("traceback"),
]
