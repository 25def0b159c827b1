"""Django's ``runserver`` with WebSocket support, by Daphne.

With Daphne in INSTALLED_APPS, every process would load Twisted: 0.3 seconds and 20 MB.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
