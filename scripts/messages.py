"""Collect the messages of the template, with every option on, into its catalogues: ``nox -s messages``."""

import re
import subprocess
import tempfile
from pathlib import Path

from service import ROOT, copy, install

TEMPLATE = ROOT / "template"
# Fixed, so that the date causes no conflict for teams that collect messages too.
DATE = r'"POT-Creation-Date: 2026-01-01 00:00+0000\\n"'


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        service = Path(name, "service")
        copy(service)
        options = ["-l", "pt_BR", "--no-location", "--ignore", ".venv", "--no-obsolete"]
        command = [str(install(service)), "manage.py", "makemessages", *options]
        subprocess.run(command, cwd=service, check=True)
        for catalog in TEMPLATE.rglob("*.po"):
            text = (service / catalog.relative_to(TEMPLATE)).read_text()
            catalog.write_text(re.sub(r'^"POT-Creation-Date: .*"$', DATE, text, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
