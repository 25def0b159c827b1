# /// script
# requires-python = ">=3.13"
# ///
"""Lock the packages that pyproject.toml asks for: ``uv run lock.py``.

With ``add PACKAGE`` or ``remove PACKAGE``, run that command of uv first, with its options. Other
options, such as ``--upgrade`` and ``--upgrade-package PACKAGE``, are those of ``uv pip compile``.

The versions are written to three locks and the constraints in pyproject.toml, so that pip,
``uv sync`` and ``uv run`` all install the same ones.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path("pyproject.toml")
LOCK = Path("requirements.txt")
OBSERVABILITY_LOCK = Path("requirements-observability.txt")
DEV_LOCK = Path("requirements-dev.txt")
COMMANDS = {
    "add": ["add", "--quiet", "--no-sync", "--bounds", "exact"],
    "remove": ["remove", "--quiet", "--no-sync"],
}


def main(*arguments: str) -> int:
    os.chdir(Path(__file__).parent)
    before = PYPROJECT.read_text("utf-8")
    # Otherwise the current versions would be constraints for the new ones.
    write_constraints([])
    try:
        if arguments and arguments[0] in COMMANDS:
            uv(*COMMANDS[arguments[0]], *arguments[1:])
            lock()
        else:
            lock(*arguments)
    except subprocess.CalledProcessError as error:
        PYPROJECT.write_text(before, "utf-8")
        return int(error.returncode)
    write_constraints(indirect_requirements())
    return 0


def lock(*options: str) -> None:
    compile_lock = ["pip", "compile", "--quiet", *options]
    groups = ["--group", "dev", "--group", "observability"]
    uv(*compile_lock, str(PYPROJECT), *groups, "--output-file", str(DEV_LOCK))
    compile_lock += ["--constraints", str(DEV_LOCK)]
    uv(*compile_lock, str(PYPROJECT), "--output-file", str(LOCK))
    uv(*compile_lock, "--group", "observability", "--output-file", str(OBSERVABILITY_LOCK))


def uv(*arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [os.environ.get("UV", "uv"), *arguments]
    subprocess.run(command, env=environment, check=True)  # noqa: S603 - a developer typed it


def indirect_requirements() -> list[str]:
    """Return the requirements in requirements-dev.txt that pyproject.toml does not pin."""
    pyproject = tomllib.loads(PYPROJECT.read_text("utf-8"))
    direct = [pyproject["project"]["dependencies"], *pyproject["dependency-groups"].values()]
    names = {name_of(requirement) for requirements in direct for requirement in requirements}
    locked = re.findall(r"^\w.*?(?= \\$)", DEV_LOCK.read_text("utf-8"), flags=re.MULTILINE)
    return [requirement for requirement in locked if name_of(requirement) not in names]


def name_of(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def write_constraints(requirements: list[str]) -> None:
    lines = "".join(f'    "{requirement}",\n' for requirement in requirements)
    text, count = re.subn(
        r"(?ms)^(constraint-dependencies = \[\n).*?^\]",
        lambda match: f"{match[1]}{lines}]",
        PYPROJECT.read_text("utf-8"),
    )
    if count != 1:
        raise SystemExit("pyproject.toml needs one list constraint-dependencies in [tool.uv].")
    PYPROJECT.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
