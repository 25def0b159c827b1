"""Services that were made from a release of the template, and move to a newer one."""

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import copier
import pytest
from releases import NO_HISTORY, next_version, releases

from support import ROOT, answers_of, run, snapshot, tracked

RELEASES = list(releases())
NEXT = next_version()
ANSWERS = Path(".copier-answers.yml")

# Git asks for a name before it commits.
AUTHOR = {
    "GIT_AUTHOR_NAME": "Ana",
    "GIT_AUTHOR_EMAIL": "ana@example.com",
    "GIT_COMMITTER_NAME": "Ana",
    "GIT_COMMITTER_EMAIL": "ana@example.com",
}


def git(folder: Path, *arguments: str) -> str:
    return run("git", *arguments, cwd=folder, **AUTHOR)


def commit_all(folder: Path, message: str = "Mine") -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


def history_of_releases(folder: Path, source: Path = ROOT) -> Path:
    """Clone this repository with a tag for each release, and the working tree as the newest."""
    git(ROOT, "clone", "--quiet", "--no-tags", str(source), str(folder))
    for version, commit in releases().items():
        if not has_commit(folder, commit):
            pytest.fail(NO_HISTORY, pytrace=False)
        git(folder, "tag", f"v{version}", commit)
    git(folder, "rm", "-r", "--quiet", ".")
    snapshot(folder)
    commit_all(folder, "The working tree")
    git(folder, "tag", f"v{NEXT}")
    return folder


def has_commit(repository: Path, commit: str) -> bool:
    kinds = git(repository, "cat-file", "--batch-check", "--batch-all-objects", "--unordered")
    return f"{commit} commit" in kinds


def later_release(
    history: Path, folder: Path, change: Callable[[Path], None], version: str = "1000.0.0"
) -> Path:
    """A copy of the history in which the template was changed once more."""
    shutil.copytree(history, folder, symlinks=True)
    change(folder / "template")
    commit_all(folder, "A later release")
    git(folder, "tag", f"v{version}")
    return folder


def committed(history: Path, folder: Path, version: str | None, **answers: Any) -> Path:
    """A service of a release, or of the newest, in Git as its first user would put it there."""
    ref = f"v{version}" if version else None
    copier.run_copy(str(history), folder, data=answers, defaults=True, quiet=True, vcs_ref=ref)
    git(folder, "init", "--quiet")
    commit_all(folder, "Start")
    return folder


def update(service: Path, *, conflict: Literal["inline", "rej"] = "inline", **answers: Any) -> None:
    """As `copier update --defaults`, with some answers changed."""
    copier.run_update(
        service, data=answers, defaults=True, overwrite=True, quiet=True, conflict=conflict
    )


def fresh(history: Path, folder: Path, like: Path) -> Path:
    """A new service from the newest version with the answers of another service."""
    answers = {
        name: answer for name, answer in answers_of(like).items() if not name.startswith("_")
    }
    copier.run_copy(str(history), folder, data=answers, defaults=True, quiet=True)
    git(folder, "init", "--quiet")
    return folder


def contents(service: Path) -> Mapping[str, tuple[bool, bytes]]:
    """What goes into Git: each file's text, and whether it may be executed.

    An empty folder counts too, though Git does not see it.
    """
    files = {
        file.as_posix(): (
            bool((service / file).stat().st_mode & 0o100),
            (service / file).read_bytes(),
        )
        for file in tracked(service)
    }
    folders = {
        f"{path.relative_to(service).as_posix()}/": (False, b"")
        for path in service.glob("[!.]*/**/")
        if path.is_dir() and not any(path.iterdir())
    }
    return files | folders


def assert_same(service: Path, other: Path) -> None:
    """Two services with the same files; the answers file tells the same too."""
    one, another = contents(service), contents(other)
    assert one.keys() == another.keys()
    assert not [name for name in one if one[name] != another[name]]


def conflicts(service: Path) -> set[str]:
    """The files that Git shows as changed by both."""
    return set(git(service, "diff", "--name-only", "--diff-filter=U").split())


def point_to(folder: Path, template: Path) -> None:
    """Say where the template is now, as docs/update.md tells for one that has moved."""
    answers = folder / ANSWERS
    text = re.sub(
        r"^_src_path: .*", f"_src_path: {template}", answers.read_text(), flags=re.MULTILINE
    )
    answers.write_text(text)
    commit_all(folder, "The template has moved")
