#!/usr/bin/env python
"""Django's command line: ``python manage.py help`` lists the commands."""

import os
import sys

from django.core.management import execute_from_command_line

from api_core.env import exit_on_bad_variable


def main() -> None:
    # What .env selects, or the environment, wins over this.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.dev")
    with exit_on_bad_variable():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
