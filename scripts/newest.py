"""Test services with the newest version of every package, whatever the pins say: ``nox -s newest``."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from service import UV, copy

EVERY_OPTION_OFF = [
    "--data=database=sqlite",
    "--data=use_channels=no",
    "--data=use_event_sync=no",
    "--data=use_docker=no",
]
COMMANDS = [
    ["sync", "--quiet", "--upgrade"],
    ["run", "manage.py", "makemigrations", "--check"],
    ["run", "mypy"],
    ["run", "pytest"],
]


def main() -> None:
    # uv must use the service's own environment, not that of nox.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["UV_PROJECT_ENVIRONMENT"] = ".venv"
    with tempfile.TemporaryDirectory(prefix="newest-", ignore_cleanup_errors=True) as folder:
        for name, answers in {"everything": [], "nothing": EVERY_OPTION_OFF}.items():
            service = Path(folder, name)
            copy(service, *answers)
            pyproject = service / "pyproject.toml"
            pyproject.write_text(re.sub(r"==(?=\d)", ">=", pyproject.read_text()))
            for command in COMMANDS:
                subprocess.run([UV, *command], cwd=service, env=environment, check=True)


if __name__ == "__main__":
    main()
