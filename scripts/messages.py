"""Collect the messages of the template into its catalogues: messages.py SERVICE PYTHON

SERVICE is a service with every option on, and PYTHON the interpreter of its environment.
"""

import re
import subprocess
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parent.parent / "template"
# Fixed, so that a new date is no conflict for a team that collects messages too.
DATE = r'"POT-Creation-Date: 2026-01-01 00:00+0000\\n"'


def main(service: Path, python: str) -> None:
    command = [
        "manage.py",
        "makemessages",
        "-l",
        "pt_BR",
        "--no-location",
        "--ignore",
        ".venv",
        "--no-obsolete",
    ]
    subprocess.run([python, *command], cwd=service, check=True)
    for catalog in TEMPLATE.rglob("*.po"):
        text = (service / catalog.relative_to(TEMPLATE)).read_text()
        catalog.write_text(re.sub(r'^"POT-Creation-Date: .*"$', DATE, text, flags=re.MULTILINE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
