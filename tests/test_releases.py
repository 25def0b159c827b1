"""releases.toml, and the requirements of a release."""

import re
import shutil
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import releases
from _pytest.outcomes import Failed
from packaging.version import Version
from support import ROOT, run, snapshot
from support.updating import AUTHOR, commit_all, git, history_of_releases

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
RECORD = releases.releases()


def test_recorded_versions_ascend_and_have_full_commit_hashes() -> None:
    versions = list(map(Version, RECORD))
    assert versions == sorted(set(versions))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in RECORD)
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in RECORD.values())
    assert len(set(RECORD.values())) == len(RECORD)


def test_each_recorded_commit_is_an_ancestor_of_the_next(history: Path) -> None:
    """The last one is an ancestor of the current commit."""
    for commit in RECORD.values():
        run("git", "merge-base", "--is-ancestor", commit, "HEAD", cwd=ROOT)
    for earlier, later in zip(list(RECORD.values()), list(RECORD.values())[1:], strict=False):
        run("git", "merge-base", "--is-ancestor", earlier, later, cwd=history)


def contradictions(repository: Path, record: dict[str, str]) -> set[tuple[str, str]]:
    """Return lines of releases.toml that a release had and that are missing now."""
    lines: set[tuple[str, str]] = set()
    for commit in record.values():
        if releases.RECORD in git(repository, "ls-tree", "--name-only", commit).split():
            then = git(repository, "show", f"{commit}:{releases.RECORD}")
            lines |= releases.releases(then).items()
    return lines - record.items()


def test_a_record_never_changes(history: Path) -> None:
    assert not contradictions(history, RECORD)


def test_a_record_that_was_changed_is_found(ready: Path) -> None:
    first = git(ready, "rev-parse", "HEAD").strip()
    releases.record("7.0.0", first)
    commit_all(ready)
    record = {"7.0.0": first, "8.0.0": git(ready, "rev-parse", "HEAD").strip()}
    assert {version for version, _ in contradictions(ready, record)} == RECORD.keys()
    moved = record | {"7.0.0": record["8.0.0"]}
    assert contradictions(ready, moved) - RECORD.items() == {("7.0.0", first)}


@pytest.mark.parametrize("version", RECORD)
def test_the_changelog_has_a_dated_section_for_each_version(version: str) -> None:
    headings = re.findall(
        rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n\n(?!#)", CHANGELOG, re.MULTILINE
    )
    assert len(headings) == 1


def test_the_version_of_this_repository_is_no_older_than_the_last_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Version(project["version"]) >= Version(list(RECORD)[-1])


def test_a_shallow_clone_fails_with_the_command_that_fetches_the_history(tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(ROOT, "clone", "--quiet", "--depth=1", ROOT.as_uri(), str(shallow))
    with pytest.raises(Failed, match=r"Fetch the whole history: git fetch --unshallow"):
        history_of_releases(tmp_path / "history", shallow)


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that is ready to release 7.0.0."""
    root = snapshot(tmp_path / "ready")
    monkeypatch.setattr(releases, "ROOT", root)
    for name, value in AUTHOR.items():
        monkeypatch.setenv(name, value)
    project = re.sub(
        r'^version = ".*"',
        'version = "7.0.0"',
        (root / "pyproject.toml").read_text(),
        flags=re.MULTILINE,
    )
    (root / "pyproject.toml").write_text(project)
    heading = f"## 7.0.0 - {date.today():%Y-%m-%d}\n\nAll new.\n"  # noqa: DTZ011
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}")
    git(root, "init", "--quiet")
    commit_all(root)
    return root


def test_a_release_is_recorded_and_prints_what_to_push(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases.main("check", "7.0.0")
    assert not capsys.readouterr().out
    releases.main("record", "7.0.0")
    commit = git(ready, "rev-parse", "HEAD").strip()
    assert releases.releases() == RECORD | {"7.0.0": commit}
    assert releases.next_version() == "7.1.0"

    # Run the commands that it printed.
    said = capsys.readouterr().out
    commands = re.findall(r"^  (git .*)$", said, flags=re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["commit", "tag", "push"]
    remote = ready.parent / "remote.git"
    git(ready, "init", "--quiet", "--bare", str(remote))
    git(ready, "remote", "add", "origin", str(remote))
    for command in commands:
        run("bash", "-c", command, cwd=ready, **AUTHOR)
    assert git(remote, "rev-parse", "v7.0.0^{commit}").strip() == commit
    assert not git(ready, "status", "--porcelain")


def no_heading(root: Path) -> None:
    (root / "CHANGELOG.md").write_text("# Changelog\n")
    commit_all(root)


def another_version(root: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", root)
    commit_all(root)


def not_committed(root: Path) -> None:
    (root / "notes.txt").touch()


def recorded_already(root: Path) -> None:
    releases.record("7.0.0", "0" * 40)
    commit_all(root)


@pytest.mark.parametrize(
    ("break_it", "version", "sentence"),
    [
        (no_heading, "7.0.0", r'CHANGELOG\.md has no heading "## 7\.0\.0 - \d{4}-\d\d-\d\d"\.'),
        (another_version, "7.0.0", r"pyproject\.toml says version [\d.]+, not 7\.0\.0\."),
        (not_committed, "7.0.0", r"There are changes that are not committed: a release is a commit\."),
        (recorded_already, "7.0.0", r"7\.0\.0 is not newer than 7\.0\.0, the last one in releases\.toml\."),
        (lambda _: None, "7.0", r'"7\.0" is no version: write three numbers, as in 1\.2\.0\.'),
        (lambda _: None, "seven", r'"seven" is no version: write three numbers, as in 1\.2\.0\.'),
    ],
)  # fmt: skip
def test_a_refused_release_is_explained_in_one_sentence(
    ready: Path, break_it: Callable[[Path], Any], version: str, sentence: str
) -> None:
    break_it(ready)
    before = releases.releases()
    with pytest.raises(SystemExit) as refused:
        releases.main("record", version)
    assert re.fullmatch(sentence, str(refused.value))
    assert releases.releases() == before
