"""Texts of libraries that are translated here, in place of the libraries. For ``makemessages``."""

from django.utils.translation import gettext_noop

LIBRARY_TEXTS = [
    gettext_noop("You do not have permission to perform this action."),
    gettext_noop("- Select an option -"),
    gettext_noop("Task Result"),
    gettext_noop("Task Results"),
]
