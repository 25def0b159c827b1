"""Texts of libraries that have no translation of their own; ``makemessages`` finds them here."""

from django.utils.translation import gettext_noop

LIBRARY_TEXTS = [
    gettext_noop("- Select an option -"),
    gettext_noop("Task Result"),
    gettext_noop("Task Results"),
]
