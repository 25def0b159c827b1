"""Services that were generated from a release of the template and are updated to a newer one."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import copier
import pytest
from releases import NO_HISTORY, next_version, releases

from support import ROOT, answers_of, run, snapshot, tracked

RELEASES = list(releases())
NEXT = next_version()
ANSWERS = Path(".copier-answers.yml")

# The files that tests of Copier's behaviour and of our messages change or read, and some of each
# option. Among them are the files that contain answers, and a file that was moved.
FEW_FILES = [
    "{{_copier_conf.answers_file}}",
    ".dockerignore",
    ".editorconfig",
    ".env",
    ".env.example",
    ".gitattributes",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".gitlab-ci.yml",
    "Dockerfile",
    "Dockerfile.local",
    "LICENSE",
    "README.md",
    "api_core/settings/base.py",
    "apps/api/errors.py",
    "apps/api/tests/__init__.py",
    "apps/api/tests/test_database_pool.py",
    "apps/api/urls_v1.py",
    "apps/event_sync/models.py",
    "apps/user/api/serializers.py",
    "apps/user/migrations/0001_initial.py",
    "apps/user/models.py",
    "apps/user/templates/communication/email/confirm_email/en.html",
    "apps/user/tokens.py",
    "check.sh",
    "common/__init__.py",
    "common/database_pool.py",
    "common/embedded_postgres/__init__.py",
    "common/embedded_postgres/base.py",
    "common/embedded_postgres/server.py",
    "docker-compose.local.yml",
    "docker-compose.yml",
    "docker/local/entrypoint.sh",
    "docker/prod/entrypoint.sh",
    "gunicorn.conf.py",
    "locale/pt_BR/LC_MESSAGES/django.mo",
    "locale/pt_BR/LC_MESSAGES/django.po",
    "pyproject.toml",
    "start_server.sh",
]

# Git commits only with a name and an address.
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


def part_of(history: Path, folder: Path, choose: Callable[[list[Path]], Iterable[Path]]) -> Path:
    """Copy the history, with only some files of ``template/`` in each release.

    The duration of a copy and of an update is proportional to the number of files.
    """
    git(history, "clone", "--quiet", str(history), str(folder))
    for version in [*RELEASES, NEXT]:
        git(folder, "read-tree", "--reset", "-u", f"v{version}")
        files = tracked(folder / "template")
        kept = {Path("template") / file for file in choose(files)}
        for file in tracked(folder):
            if file not in kept and file.parts[0] not in {"copier.yml", "extensions"}:
                (folder / file).unlink()
        commit_all(folder, version)
        git(folder, "tag", "--force", f"v{version}")
    return folder


def few_files(files: list[Path]) -> list[Path]:
    return [file for file in files if file.as_posix().removesuffix(".jinja") in FEW_FILES]


def later_release(
    history: Path, folder: Path, change: Callable[[Path], None], version: str = "1000.0.0"
) -> Path:
    """Copy the history, and add a release with another change of the template."""
    shutil.copytree(history, folder, symlinks=True)
    change(folder / "template")
    commit_all(folder, "A later release")
    git(folder, "tag", f"v{version}")
    return folder


def committed(history: Path, folder: Path, version: str | None, **answers: Any) -> Path:
    """Generate a service from a release (the newest by default), and commit it as a user would."""
    ref = f"v{version}" if version else None
    copier.run_copy(str(history), folder, data=answers, defaults=True, quiet=True, vcs_ref=ref)
    git(folder, "init", "--quiet")
    commit_all(folder, "Start")
    return folder


def update(service: Path, *, conflict: Literal["inline", "rej"] = "inline", **answers: Any) -> None:
    """Run `copier update --defaults` with some answers changed."""
    copier.run_update(
        service, data=answers, defaults=True, overwrite=True, quiet=True, conflict=conflict
    )


def fresh(history: Path, folder: Path, like: Path) -> Path:
    """Generate a service from the newest version with the answers of another service."""
    answers = {
        name: answer for name, answer in answers_of(like).items() if not name.startswith("_")
    }
    copier.run_copy(str(history), folder, data=answers, defaults=True, quiet=True)
    git(folder, "init", "--quiet")
    return folder


def contents(service: Path) -> Mapping[str, tuple[bool, bytes]]:
    """Return each file that Git does not ignore: its text, and whether it is executable.

    Empty folders count too, although Git ignores them.
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
    """Check that two services have the same files and the same answers."""
    one, another = contents(service), contents(other)
    assert one.keys() == another.keys()
    assert not [name for name in one if one[name] != another[name]]


def conflicts(service: Path) -> set[str]:
    """Return the files in which Git shows a conflict."""
    return set(git(service, "diff", "--name-only", "--diff-filter=U").split())


def point_to(folder: Path, template: Path) -> None:
    """Change the template's location, as docs/update.md describes for one that has moved."""
    answers = folder / ANSWERS
    text = re.sub(
        r"^_src_path: .*", f"_src_path: {template}", answers.read_text(), flags=re.MULTILINE
    )
    answers.write_text(text)
    commit_all(folder, "The template has moved")
