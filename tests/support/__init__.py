"""Shared helpers: this repository's files, generated services, and other programs."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template"
UV = os.environ.get("UV", "uv")
# The Python version for the variants. The default is the one that the template pins.
SERVICE_PYTHON = os.environ.get(
    "SERVICE_PYTHON", (TEMPLATE / ".python-version").read_text().strip()
)

type Answers = dict[str, Any]

# Answers that change a service's code. Every combination of them is installed and tested.
CODE_OPTIONS: dict[str, list[str | bool]] = {
    "database": ["postgres", "sqlite"],
    "use_channels": [True, False],
    "use_event_sync": [True, False],
}
# Answers that change a setting or add other files. They are distributed over those combinations.
OTHER_OPTIONS: dict[str, list[str | bool]] = {
    "language_code": ["pt-br", "en-us"],
    "use_docker": [True, False],
    "ci_provider": ["github", "gitlab", "none"],
}
OPTIONS = CODE_OPTIONS | OTHER_OPTIONS


def combinations_of(options: dict[str, list[str | bool]]) -> list[Answers]:
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def spread(codes: list[Answers], others: list[Answers]) -> list[Answers]:
    """Add one of the others to each code: every fifth, so that every pair of answers occurs."""
    return [code | others[5 * number % len(others)] for number, code in enumerate(codes)]


VARIANTS = spread(combinations_of(CODE_OPTIONS), combinations_of(OTHER_OPTIONS))
# The variants whose pipelines run, one for each provider.
IN_PIPELINES = [VARIANTS[0], VARIANTS[5]]


def name_of(answers: Answers) -> str:
    """Return a variant's name, such as ``postgres-channels-pt-br-docker-github``."""
    names = (
        question.removeprefix("use_") if answer is True else answer
        for question, answer in answers.items()
    )
    return "-".join(name for name in names if isinstance(name, str))


def in_one_worker(variants: list[Answers], kind: str = "variant") -> list[Any]:
    """Return parameters of a fixture. Tests with the same one share a worker, and so a service."""
    names = map(name_of, variants)
    return [
        pytest.param(answers, id=name, marks=pytest.mark.xdist_group(f"{kind}-{name}"))
        for answers, name in zip(variants, names, strict=True)
    ]


def tracked(folder: Path) -> list[Path]:
    """Return the relative paths of the files in a folder that Git does not ignore."""
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=folder)
    files = [Path(name) for name in listing.split("\0") if name]
    return sorted(file for file in files if (folder / file).is_file())


def copy(template: Path, folder: Path, *, only: Sequence[str], **answers: Any) -> Path:
    """Generate some files of a service. The ``copier`` fixture generates all of them.

    Copier needs 2 seconds to look at all files of the template, so it gets a part of it.
    """
    with tempfile.TemporaryDirectory() as name:
        part = Path(name)
        shutil.copy(template / "copier.yml", part)
        shutil.copytree(template / "extensions", part / "extensions")
        for file in only:
            copy_source(template / "template", part / "template", file)
        copier.run_copy(str(part), folder, data=answers, defaults=True, quiet=True)
    return folder


def copy_source(template: Path, part: Path, file: str) -> None:
    """Copy what a file or a folder of a service is generated from."""
    name = "{{_copier_conf.answers_file}}" if file == ".copier-answers.yml" else file
    (source,) = filter(Path.exists, (template / name, template / f"{name}.jinja"))
    target = part / source.relative_to(template)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def programs(service: Path) -> Path:
    """Return the folder of the programs in a service's environment."""
    return service / ".venv" / ("Scripts" if sys.platform == "win32" else "bin")


def answers_of(folder: Path) -> dict[str, Any]:
    answers: dict[str, Any] = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    return answers


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program as from a clean shell, and return its output. Fail the test if it fails."""
    ours = re.compile(
        r"(VIRTUAL_ENV|UV_PYTHON|UV_PROJECT_|DATABASE_URL|DJANGO_|PYTEST|PYTHON(?!UTF8)|NOX_)"
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
    """Copy this repository without its history, so that Copier uses the working tree."""
    for file in tracked(ROOT):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    return folder
