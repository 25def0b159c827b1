#!/usr/bin/env python
"""Django's command line: ``python manage.py help`` lists the commands."""

import os
import sys

from django.core.management import execute_from_command_line

from api_core.env import exit_on_bad_variable


def main() -> None:
    # A value in the environment or .env takes precedence.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "api_core.settings.dev")
    with exit_on_bad_variable():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
