"""What the tests share: this repository's files, copies of the template, and other programs."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "template"
UV = os.environ.get("UV", "uv")

# Answers that change what a service is made of: every combination of them is a variant. An
# option with files, packages or settings of its own gets a line here.
OPTIONS = {
    "database": ["postgres", "sqlite"],
    "language_code": ["pt-br", "en-us"],
}


def tracked(folder: Path) -> list[Path]:
    """The files of a folder that Git tracks or would, by their path in it."""
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    files = [Path(name) for name in listing.split("\0") if name]
    return sorted(file for file in files if (folder / file).is_file())


def copy(template: Path, folder: Path, *, only: str = "", **answers: Any) -> Path:
    """Make a service with the default answers but for those given; `only` renders one file."""
    exclude = ["*", f"!/{only}"] if only else []
    copier.run_copy(str(template), folder, data=answers, defaults=True, quiet=True, exclude=exclude)
    return folder


def answers_of(folder: Path) -> dict[str, Any]:
    answers: dict[str, Any] = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    return answers


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program as from a clean shell. Where it fails, so does the test, with its output."""
    ours = re.compile(
        r"(VIRTUAL_ENV|UV_PYTHON|UV_PROJECT_|DATABASE_URL|DJANGO_|PYTEST|PYTHON|NOX_)"
    )
    environment = {name: value for name, value in os.environ.items() if not ours.match(name)}
    result = subprocess.run(
        command,
        cwd=cwd,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        line = " ".join(map(str, command))
        pytest.fail(
            f"{line}\nexit {result.returncode}\n{result.stdout}{result.stderr}", pytrace=False
        )
    return result.stdout


def snapshot(folder: Path) -> Path:
    """Copy this repository's files without its history: Copier takes a folder as it is."""
    for file in tracked(ROOT):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    return folder
