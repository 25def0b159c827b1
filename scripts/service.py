"""Generate a service from the working tree, and install it: service.py FOLDER [--data=QUESTION=ANSWER ...]"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
# uvx sets the variable. The program itself may not be on PATH.
UV = os.environ.get("UV", "uv")


def copy(folder: Path, *arguments: str) -> None:
    """Generate a service with the default answers. Changes that are not committed count too."""
    copier = [sys.executable, "-W", "ignore", "-m", "copier", "copy"]
    options = ["--defaults", "--quiet", "--vcs-ref=HEAD", *arguments]
    subprocess.run([*copier, *options, str(ROOT), str(folder)], check=True)


def install(folder: Path) -> Path:
    """Install the packages of a service's lock into its own environment, and return its Python."""
    python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([UV, "venv", "--quiet", folder / ".venv"], cwd=folder, check=True)
    lock = ["--require-hashes", "--requirement", "requirements-dev.txt"]
    command = [UV, "pip", "install", "--quiet", "--python", str(python), *lock]
    subprocess.run(command, cwd=folder, check=True)
    return python


if __name__ == "__main__":
    service = Path(sys.argv[1])
    copy(service, *sys.argv[2:])
    install(service)
