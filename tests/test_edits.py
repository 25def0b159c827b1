"""Edits of a team survive an update."""

import re
from pathlib import Path

import pytest
from _pytest.outcomes import Failed
from support import UV, run
from support.edits import BASE, FIELD, MODELS, TEXT, edit, insert, missing
from support.living import ADD_DATA, ANA, READ_DATA, Service
from support.locks import LOCKS, locked
from support.updating import (
    NEXT,
    RELEASES,
    commit_all,
    committed,
    conflicts,
    contents,
    fresh,
    git,
    later_release,
    point_to,
    update,
)

pytestmark = pytest.mark.updates


def edited(history: Path, folder: Path, version: str) -> Path:
    """A service with the edits of a team, all committed."""
    service = committed(history, folder, version)
    edit(service)
    commit_all(service)
    return service


@pytest.mark.parametrize("version", RELEASES)
def test_edits_survive(small_history: Path, tmp_path: Path, version: str) -> None:
    """The result is a fresh copy with the same edits, except where both changed the same lines."""
    service = edited(small_history, tmp_path / "service", version)
    update(service)
    other = fresh(small_history, tmp_path / "fresh", like=service)
    ours = contents(other)
    edit(other)
    both = conflicts(service)
    for file in both:
        keep_both(service, file)
        assert set(lines(ours[file])) <= set((service / file).read_bytes().splitlines())
    assert not missing(service)
    same = {name: text for name, text in contents(service).items() if name not in both}
    assert same == {name: text for name, text in contents(other).items() if name not in both}


def lines(content: tuple[bool, bytes]) -> list[bytes]:
    return content[1].splitlines()


def keep_both(service: Path, file: str) -> None:
    """Resolve the conflicts of a file by keeping both sides. The file must have a conflict."""
    git(service, "checkout", "--quiet", "--conflict=diff3", "--", file)
    text = (service / file).read_text()
    pattern = r"<<<<<<< ours\n(.*?)\|\|\|\|\|\|\| base\n(.*?)=======\n(.*?)>>>>>>> theirs\n"
    for mine, before, ours in re.findall(pattern, text, flags=re.DOTALL):
        assert len({mine, before, ours}) == 3, text
    (service / file).write_text(re.sub(pattern, r"\1\3", text, flags=re.DOTALL))


def replace(service: Path, file: str, old: str, new: str) -> None:
    text = (service / file).read_text()
    assert text.count(old) == 1, (file, old)
    (service / file).write_text(text.replace(old, new))


RATE = '        "login-address": "60/min",\n'
OUR_RATE = RATE.replace("60", "90")
THEIR_RATE = RATE.replace("60", "30")


def test_git_shows_both_versions_if_both_sides_changed_the_same_lines(
    small_history: Path, tmp_path: Path
) -> None:
    def change(template: Path) -> None:
        replace(template, f"{BASE}.jinja", RATE, OUR_RATE)
        replace(template, f"{BASE}.jinja", "REQUEST_BODY_MAX_BYTES", "BODY_MAX_BYTES")

    later = later_release(small_history, tmp_path / "later", change)
    service = committed(later, tmp_path / "service", NEXT)
    replace(service, BASE, RATE, THEIR_RATE)
    commit_all(service)
    update(service)

    both = f"<<<<<<< before updating\n{THEIR_RATE}=======\n{OUR_RATE}>>>>>>> after updating\n"
    text = (service / BASE).read_text()
    assert both in text
    assert text.count("<<<<<<<") == 1
    assert "\nBODY_MAX_BYTES" in text, "the change of the template is missing"
    assert conflicts(service) == {BASE}
    assert f"UU {BASE}" in git(service, "status", "--short")


def test_an_edit_next_to_a_change_of_the_template_is_not_a_conflict(
    small_history: Path, tmp_path: Path
) -> None:
    def change(template: Path) -> None:
        replace(template, f"{BASE}.jinja", RATE, OUR_RATE)

    later = later_release(small_history, tmp_path / "later", change)
    service = committed(later, tmp_path / "service", NEXT)
    insert(service, BASE, '        "notes-address": "9/min",\n', before='        "mail-account"')
    commit_all(service)
    update(service)
    assert not conflicts(service)
    assert OUR_RATE in (service / BASE).read_text()
    assert "notes-address" in (service / BASE).read_text()


def test_a_deleted_file_stays_deleted(small_history: Path, tmp_path: Path) -> None:
    def change(template: Path) -> None:
        with (template / ".editorconfig").open("a") as file:
            file.write("\n[*.md]\nmax_line_length = 120\n")

    later = later_release(small_history, tmp_path / "later", change)
    service = committed(later, tmp_path / "service", NEXT)
    (service / ".editorconfig").unlink()
    commit_all(service)
    update(service)
    assert not (service / ".editorconfig").exists()


def test_the_documented_commands_undo_an_update(small_history: Path, tmp_path: Path) -> None:
    """The commands in docs/update.md that undo an update leave nothing of it."""
    service = edited(small_history, tmp_path / "service", RELEASES[0])
    before = git(service, "rev-parse", "HEAD^{tree}")
    update(service)
    assert git(service, "status", "--porcelain")
    git(service, "restore", "--staged", "--worktree", ".")
    git(service, "clean", "--force", "-d", "--quiet")
    assert not git(service, "status", "--porcelain")
    assert git(service, "rev-parse", "HEAD^{tree}") == before


def test_edits_survive_a_rename_in_the_template_if_the_file_is_moved_before(
    small_history: Path, tmp_path: Path
) -> None:
    """The steps that the changelog must describe if a file of the template is renamed."""

    def change(template: Path) -> None:
        (template / MODELS).rename(template / "apps/user/person.py")

    later = later_release(small_history, tmp_path / "later", change)
    service = edited(later, tmp_path / "service", NEXT)
    git(service, "mv", MODELS, "apps/user/person.py")
    commit_all(service, "As the changelog says")
    update(service)
    text = (service / "apps/user/person.py").read_text()
    assert f"<<<<<<< before updating\n{FIELD}=======\n>>>>>>> after updating\n" in text
    assert text.count("<<<<<<<") == 1
    assert not (service / MODELS).exists()


def test_a_file_that_the_template_removed_is_shown_as_deleted(
    small_history: Path, tmp_path: Path
) -> None:

    def change(template: Path) -> None:
        (template / TEXT).unlink()

    later = later_release(small_history, tmp_path / "later", change)
    service = edited(later, tmp_path / "service", NEXT)
    update(service)
    assert f" D {TEXT}" in git(service, "status", "--short").splitlines()
    assert "Your friends at Billing" in git(service, "show", f"HEAD:{TEXT}")


# Installed, with data, including the service's own tests


# The two locks of a release without lock.py.
OLD_LOCKS = [
    "--output-file requirements.txt",
    "--group dev --constraints requirements.txt --output-file requirements-dev.txt",
]


@pytest.fixture
def service(history: Path, short_path: Path) -> Service:
    """A service of the oldest release, with a team's edits and a user."""
    folder = committed(history, short_path / "edited", RELEASES[0])
    edit(folder)
    for options in OLD_LOCKS:
        run(UV, *f"pip compile --quiet pyproject.toml {options}".split(), cwd=folder)
    service = Service(folder)
    service.manage("makemigrations", "notes")
    service.run("ruff", "check", "--fix", "--quiet")
    service.run("ruff", "format", "--quiet")
    commit_all(folder)
    service.manage("migrate")
    service.shell(ADD_DATA)
    return service


def test_an_edited_service_passes_its_tests(
    history: Path, tmp_path: Path, service: Service
) -> None:
    folder = service.folder
    update(folder)
    # Locks are not merged: take ours, and lock again.
    for file in conflicts(folder):
        if file in LOCKS:
            git(folder, "checkout", "--quiet", "--theirs", file)
        else:
            keep_both(folder, file)
    assert not missing(folder)
    service.lock()
    other = fresh(history, tmp_path / "fresh", like=folder)
    for name in LOCKS:
        ours, theirs = locked(other / name), locked(folder / name)
        if name != "requirements-observability.txt":
            ours |= {"python-slugify": "8.0.4", "text-unidecode": "1.3"}
        assert theirs == ours

    service.install()
    # Releases since 0.2.0 have added migrations of the user, as the service has.
    service.manage("makemigrations", "--merge", "--no-input")
    service.run("ruff", "format", "--quiet", "apps/user/migrations")
    service.manage("makemigrations", "--check", "--dry-run")
    service.manage("migrate")
    assert service.shell(READ_DATA) == ANA
    commit_all(folder)

    # Then the template also adds a field to the user, so two migrations follow the same one.
    later = later_release(history, tmp_path / "later", add_nickname)
    point_to(folder, later)
    update(folder)
    assert not conflicts(folder)
    with pytest.raises(Failed, match="Conflicting migrations detected"):
        service.manage("makemigrations", "--check")
    service.manage("makemigrations", "--merge", "--no-input")
    service.run("ruff", "format", "--quiet", "apps/user/migrations")
    service.manage("makemigrations", "--check", "--dry-run")
    service.manage("migrate")
    assert service.shell(READ_DATA) == ANA
    service.run("ruff", "check")
    service.run("ruff", "format", "--check")
    service.run("mypy")
    # The others do not depend on what was edited.
    tests = [
        "apps/api",
        "apps/communication",
        "apps/notes",
        "apps/user",
        "--ignore=apps/api/websocket",
    ]
    service.run("pytest", "-n0", "--quiet", *tests)


def add_nickname(template: Path) -> None:
    """Add a field to the user in the template, as a release could."""
    insert(
        template,
        "apps/user/models.py",
        '    nickname = models.CharField(_("nickname"), max_length=100, blank=True)\n',
        before="    is_active = ",
    )
    insert(template, "apps/user/api/serializers.py", '    "nickname",\n', before='    "is_active",')
    (template / "apps/user/migrations/0002_user_nickname.py").write_text(
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    dependencies = [("user", "0001_initial")]\n\n'
        "    operations = [\n"
        "        migrations.AddField(\n"
        '            model_name="user",\n'
        '            name="nickname",\n'
        "            field=models.CharField(\n"
        '                blank=True, max_length=100, verbose_name="nickname"\n'
        "            ),\n"
        "        ),\n"
        "    ]\n"
    )
