"""Check a new release of the template, and record it in releases.toml."""

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECORD = "releases.toml"

RECORDED = """
{version} is recorded as {commit}. Now commit the record and push it with the tag:

  git commit --message "Record {version}" {record}
  git tag --annotate --message "Version {version}" v{version} {commit}
  git push origin HEAD v{version}

Copier finds a release by its tag; a clone without tags gets them by: git fetch --tags
"""

NO_HISTORY = (
    "This clone does not hold the commits of the releases, which the tests of updates start from."
    " Fetch the whole history: git fetch --unshallow (in GitHub Actions: fetch-depth: 0)."
)


def releases(text: str | None = None) -> dict[str, str]:
    """Return the commit of each version, oldest first. ``text`` is another state of releases.toml."""
    recorded: dict[str, str] = tomllib.loads((ROOT / RECORD).read_text() if text is None else text)
    return recorded


def next_version() -> str:
    """Return a version after the last one."""
    major, minor, _patch = numbers(list(releases())[-1])
    return f"{major}.{minor + 1}.0"


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def faults(version: str) -> list[str]:
    """Return the reasons why this version cannot be released, as sentences."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        return [f'"{version}" is no version: write three numbers, as in 1.2.0.']
    last = list(releases())[-1]
    found = []
    if numbers(version) <= numbers(last):
        found.append(f"{version} is not newer than {last}, the last one in {RECORD}.")
    if git("status", "--porcelain"):
        found.append("There are changes that are not committed: a release is a commit.")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    today = f"{date.today():%Y-%m-%d}"  # noqa: DTZ011 - the releaser's own day
    if f"## {version} - {today}\n" not in changelog:
        found.append(f'CHANGELOG.md has no heading "## {version} - {today}".')
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if project["version"] != version:
        found.append(f"pyproject.toml says version {project['version']}, not {version}.")
    return found


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def record(version: str, commit: str) -> None:
    """Add a version to releases.toml."""
    with (ROOT / RECORD).open("a") as file:
        file.write(f'"{version}" = "{commit}"\n')


def main(command: str, version: str = "") -> None:
    if command == "tags":
        for recorded, commit in releases().items():
            print(f"git tag --annotate --message 'Version {recorded}' v{recorded} {commit}")
        return
    if found := faults(version):
        raise SystemExit("\n".join(found))
    if command == "record":
        commit = git("rev-parse", "HEAD")
        record(version, commit)
        print(RECORDED.format(version=version, commit=commit, record=RECORD))


if __name__ == "__main__":
    main(*sys.argv[1:])
