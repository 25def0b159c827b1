"""The locks of a service, and what is installed in its environment."""

import re
from pathlib import Path

from packaging.requirements import Requirement

from support import UV, programs, run

LOCKS = ["requirements.txt", "requirements-observability.txt", "requirements-dev.txt"]


Pins = dict[str, str]


def locked(lock: Path) -> Pins:
    """Return the versions in a lock, by the package's name."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), flags=re.MULTILINE))


def requirements(lock: Path) -> list[Requirement]:
    """Return the lines of a lock, with their markers."""
    lines = re.findall(r"^\w.*?(?= \\$)", lock.read_text(), flags=re.MULTILINE)
    return [Requirement(line) for line in lines]


def here(lock: Path) -> list[Requirement]:
    """Return the lines of a lock that apply to this machine."""
    return [line for line in requirements(lock) if not line.marker or line.marker.evaluate()]


def freeze(folder: Path) -> set[str]:
    """Return the packages in the environment of a folder, each with its version."""
    python = programs(folder) / "python"
    return set(run(UV, "pip", "freeze", "--quiet", "--python", python, cwd=folder).splitlines())
