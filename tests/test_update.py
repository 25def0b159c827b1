"""An update from any release makes an untouched service the same as a fresh copy."""

import json
import os
import re
import subprocess
import sys
from itertools import cycle, product
from pathlib import Path

import pytest
from support import OPTIONS, ROOT, VARIANTS, Answers, answers_of, name_of, run, tracked
from support.updating import (
    NEXT,
    RELEASES,
    assert_same,
    commit_all,
    committed,
    conflicts,
    fresh,
    git,
    later_release,
    point_to,
    update,
)

pytestmark = pytest.mark.updates

PAGE = (ROOT / "docs/update.md").read_text()


# The variants that are updated from the newest release, from the one before it, and so on in turn.
IN_TURN = cycle([[0, 2, 3, 4, 7], [0, 1, 5, 6]])
UPDATES = [
    (version, VARIANTS[number])
    for version, numbers in zip(reversed(RELEASES), IN_TURN, strict=False)
    for number in numbers
]


def test_every_variant_is_updated_and_every_release_meets_every_answer() -> None:
    """test_variants.py checks that the variants contain every pair of answers."""
    updated = [answers for _, answers in UPDATES]
    assert [answers for answers in VARIANTS if answers not in updated] == []
    for version, (question, values) in product(RELEASES, OPTIONS.items()):
        assert {answers[question] for other, answers in UPDATES if other == version} == {*values}
    assert all((version, VARIANTS[0]) in UPDATES for version in RELEASES)


@pytest.mark.parametrize(
    ("version", "answers"),
    UPDATES,
    ids=[f"{version}-{name_of(answers)}" for version, answers in UPDATES],
)
def test_an_update_ends_as_a_fresh_copy(
    history: Path, tmp_path: Path, version: str, answers: Answers
) -> None:
    service = committed(history, tmp_path / "service", version, **answers)
    secret, before = (service / ".env").read_text(), tracked(service)
    update(service)
    assert answers_of(service)["_commit"] == f"v{NEXT}"
    assert_same(service, fresh(history, tmp_path / "fresh", like=service))
    assert not conflicts(service)
    assert (service / ".env").read_text() == secret
    gone = {file.as_posix() for file in before} - {file.as_posix() for file in tracked(service)}
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert not [file for file in gone if f"`{file}`" not in changelog]


@pytest.mark.parametrize(
    ("more", "stays"), [("", True), (" and _copier_conf.data._commit is not defined", False)]
)
def test_a_file_that_a_new_version_excludes_is_deleted_only_if_its_row_says_so(
    small_history: Path, tmp_path: Path, *, more: str, stays: bool
) -> None:
    """Copier applies the new table of files to the old version too, unless the row prevents it.

    docs/release.md describes this.
    """
    file = "gunicorn.conf.py"

    def change(template: Path) -> None:
        text = (template.parent / "copier.yml").read_text()
        row = f'  - "{{% if use_docker{more} %}}/{file}{{% endif %}}"\n'
        (template.parent / "copier.yml").write_text(text.replace("  - .svn\n", f"  - .svn\n{row}"))

    later = later_release(small_history, tmp_path / "later", change)
    service = committed(later, tmp_path / "service", NEXT)
    update(service)
    assert (service / file).exists() is stays
    assert not (fresh(later, tmp_path / "fresh", like=service) / file).exists()


# Copier's command line


def copier(*arguments: str, cwd: Path, path: str = os.environ["PATH"]) -> tuple[int, str]:
    """Run Copier, and return the exit code and the output."""
    result = subprocess.run(
        [sys.executable, "-m", "copier", *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


@pytest.fixture
def old(small_history: Path, tmp_path: Path) -> Path:
    """A service that was generated from the oldest release."""
    return committed(small_history, tmp_path / "service", RELEASES[0])


def test_check_update_reports_a_newer_version(old: Path) -> None:
    assert answers_of(old)["_commit"] == f"v{RELEASES[0]}"
    _code, said = copier("check-update", cwd=old)
    assert f"Current version is {RELEASES[0]}, latest version is {NEXT}." in said
    assert copier("check-update", "--quiet", cwd=old)[0] == 2
    _code, said = copier("check-update", "--output-format=json", cwd=old)
    assert json.loads(said)["update_available"] is True

    update(old)
    commit_all(old)
    assert "up-to-date" in copier("check-update", cwd=old)[1]
    assert copier("check-update", "--quiet", cwd=old)[0] == 0


def test_the_readme_names_the_place_of_the_version_instead_of_the_version(old: Path) -> None:
    update(old)
    readme = (old / "README.md").read_text()
    assert "estão em `.copier-answers.yml`, e a versão do template em `_commit`" in readme
    assert "copier check-update" in readme
    assert NEXT not in readme


def test_copier_update_works_without_trust(old: Path, small_history: Path, tmp_path: Path) -> None:
    code, said = copier("update", "--defaults", cwd=old)
    assert code == 0, said
    assert "has been updated." in said
    assert_same(old, fresh(small_history, tmp_path / "fresh", like=old))


def test_a_template_without_tags_can_be_updated_from(small_history: Path, tmp_path: Path) -> None:
    """In a clone without tags, Copier uses the newest commit."""
    untagged = tmp_path / "untagged"
    git(small_history, "clone", "--quiet", "--no-tags", str(small_history), str(untagged))
    newest = git(untagged, "rev-parse", "HEAD").strip()
    git(untagged, "reset", "--hard", "--quiet", "HEAD~1")
    service = committed(untagged, tmp_path / "service", None)
    git(untagged, "reset", "--hard", "--quiet", newest)
    assert "New template version available" in copier("check-update", cwd=service)[1]
    update(service)
    assert newest.startswith(answers_of(service)["_commit"])
    assert_same(service, fresh(untagged, tmp_path / "fresh", like=service))


def test_a_service_can_be_pointed_to_a_template_that_has_moved(
    old: Path, small_history: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    git(small_history, "clone", "--quiet", str(small_history), str(moved))
    point_to(old, Path("/nowhere"))
    code, said = copier("update", "--defaults", cwd=old)
    assert code
    assert_documented(said.splitlines()[-1].removeprefix("ValueError: "))
    point_to(old, moved)
    code, said = copier("update", "--defaults", cwd=old)
    assert code == 0, said
    assert answers_of(old)["_commit"] == f"v{NEXT}"


def assert_documented(sentence: str) -> None:
    """Check that the table at the end of docs/update.md contains this message."""
    rows = re.findall(r"^\| (.+?) \| .+ \|$", PAGE, flags=re.MULTILINE)
    assert any(row.rstrip(".") in sentence for row in rows), sentence


def test_the_documentation_explains_each_refusal_of_copier(old: Path, tmp_path: Path) -> None:
    (old / "notes.txt").touch()
    assert_documented(refusal(old))
    commit_all(old)

    update(old)
    commit_all(old)
    assert_documented(refusal(old, f"--vcs-ref=v{RELEASES[0]}"))

    answers = old / ".copier-answers.yml"
    answers.write_text(re.sub(r"^_commit: .*\n", "", answers.read_text(), flags=re.MULTILINE))
    commit_all(old)
    assert_documented(refusal(old))

    (old / ".git").rename(tmp_path / "away")
    assert_documented(refusal(old))


def refusal(service: Path, *arguments: str) -> str:
    code, said = copier("update", "--defaults", *arguments, cwd=service)
    assert code
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


# Our own messages


def without_git(folder: Path) -> str:
    """Return a PATH without Git."""
    folder.mkdir()
    return str(folder)


def test_a_copy_without_git_warns_that_updates_will_not_work(
    small_history: Path, tmp_path: Path
) -> None:
    code, said = copier(
        *["copy", "--defaults", str(small_history), "service"],
        cwd=tmp_path,
        path=without_git(tmp_path / "empty"),
    )
    assert code == 0, said
    before, _, _after = said.partition("Copying from template")
    assert "Git is not installed" in before
    assert '"copier update" will not' in before


def test_a_copy_from_a_relative_path_warns_that_updates_will_not_work(
    small_history: Path, tmp_path: Path
) -> None:
    (tmp_path / "template").symlink_to(small_history)
    for source, warned in {"template": True, str(small_history): False}.items():
        code, said = copier("copy", "--defaults", source, f"from-{warned}", cwd=tmp_path)
        assert code == 0, said
        assert ("use an absolute path" in said) is warned


@pytest.mark.parametrize("no", ["no", "false", "0"])
def test_turning_off_event_sync_warns_that_the_events_table_stays(old: Path, no: str) -> None:
    code, said = copier("update", "--defaults", f"--data=use_event_sync={no}", cwd=old)
    assert code == 0, said
    before, _, after = said.partition("Updating to template version")
    assert "deletes the files of this option" in before
    assert "The events table and its rows stay in the database" in before
    assert "manage.py migrate event_sync zero" in before
    assert "git status lists them" in after


def test_an_update_that_turns_no_option_off_does_not_warn(old: Path) -> None:
    code, said = copier("update", "--defaults", "--data=use_event_sync=yes", cwd=old)
    assert code == 0, said
    before, _, _after = said.partition("Updating to template version")
    assert "deletes the files" not in before
    assert "table" not in before
    assert "git restore --staged --worktree . && git clean --force -d" in before


def test_the_message_before_an_update_finds_edited_files_that_the_template_moved(old: Path) -> None:
    with (old / "apps/api/errors.py").open("a") as file:
        file.write("# Mine\n")
    commit_all(old)
    code, said = copier("update", "--defaults", cwd=old)
    assert code == 0, said
    before, _, _after = said.partition("Updating to template version")
    assert '"Moved files"' in before
    assert "\n### Moved files\n" in (ROOT / "CHANGELOG.md").read_text()
    command = re.search(r"^ +(git log .*sort --unique)$", before, flags=re.MULTILINE)
    assert command
    edited = run("sh", "-c", command[1], cwd=old).split()
    assert edited == ["apps/api/errors.py"]
    assert not (old / "apps/api/errors.py").exists()
