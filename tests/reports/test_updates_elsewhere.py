"""Updates in monorepos, on Windows, and of translated, ignored and renamed files."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import copier
import pytest
from support import TEMPLATE, run
from support.updating import (
    ANSWERS,
    NEXT,
    RELEASES,
    assert_same,
    commit_all,
    committed,
    conflicts,
    fresh,
    git,
    later_release,
    update,
)

pytestmark = pytest.mark.updates

CATALOG = "locale/pt_BR/LC_MESSAGES/django.po"
SCRIPTS = ["start_server.sh", "docker/prod/entrypoint.sh", "docker/local/entrypoint.sh"]


# Commands from docs/update.md and from the message before an update.
WAY_BACK = "git restore --staged --worktree . && git clean --force -d"


def copier_command(*arguments: str | Path, cwd: Path) -> str:
    """Run Copier's command line and return its output."""
    command = [sys.executable, "-m", "copier", *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def shell(command: str, *, cwd: Path) -> str:
    return run("sh", "-c", command, cwd=cwd)


def command_of(message: str, word: str) -> str:
    """Return the (indented) command of a message that contains this word."""
    (command,) = re.findall(rf"^  (.*\b{word}\b.*)$", message, flags=re.MULTILINE)
    return str(command)


# A service in a folder of a larger repository: https://github.com/copier-org/copier/issues/2362


@pytest.fixture
def monorepo(small_history: Path, tmp_path: Path) -> Path:
    """A repository with a web page, and with a service of the oldest release in services/api."""
    folder = tmp_path / "monorepo"
    (folder / "web").mkdir(parents=True)
    (folder / "web/a.txt").write_text("committed\n")
    copier.run_copy(
        str(small_history),
        folder / "services/api",
        defaults=True,
        quiet=True,
        vcs_ref=f"v{RELEASES[0]}",
    )
    git(folder, "init", "--quiet")
    commit_all(folder)
    return folder


@pytest.mark.parametrize("from_where", ["services/api", "."])
def test_the_printed_undo_command_changes_only_the_folder_of_the_service(
    monorepo: Path, from_where: str
) -> None:
    (monorepo / "web/a.txt").write_text("edited\n")
    (monorepo / "web/new.txt").write_text("new\n")
    destination = [] if from_where == "services/api" else ["services/api"]
    message = copier_command("update", "--defaults", *destination, cwd=monorepo / from_where)
    assert git(monorepo, "status", "--porcelain", "services")

    shell(command_of(message, "restore"), cwd=monorepo / from_where)
    assert git(monorepo, "status", "--porcelain") == " M web/a.txt\n?? web/new.txt\n"
    assert (monorepo / "web/a.txt").read_text() == "edited\n"


def test_an_update_in_a_monorepo_ends_as_a_fresh_copy(
    small_history: Path, tmp_path: Path, monorepo: Path
) -> None:
    service = monorepo / "services/api"
    update(service)
    assert_same(service, fresh(small_history, tmp_path / "fresh", like=service))


# Windows: https://github.com/HKUDS/nanobot/pull/2883,
# https://github.com/testdrivenio/django-on-docker/issues/26


def clone(service: Path, folder: Path, *settings: str) -> Path:
    options = [option for setting in settings for option in ("--config", setting)]
    git(service, "clone", "--quiet", *options, str(service), str(folder))
    return folder


def with_crlf(folder: Path) -> list[str]:
    files = git(folder, "ls-files").split("\n")[:-1]
    return [file for file in files if b"\r\n" in (folder / file).read_bytes()]


def test_a_clone_with_autocrlf_keeps_lf(small_history: Path, tmp_path: Path) -> None:
    service = committed(small_history, tmp_path / "service", NEXT)
    windows = clone(service, tmp_path / "windows", "core.autocrlf=true")
    assert not with_crlf(windows)
    later = later_release(small_history, tmp_path / "later", change_template)
    answers = (windows / ANSWERS).read_text()
    (windows / ANSWERS).write_text(answers.replace(str(small_history), str(later)))
    commit_all(windows)
    update(windows)
    assert not with_crlf(windows)
    assert git(windows, "diff", "--numstat", "start_server.sh").startswith("1\t0\t")


def change_template(template: Path) -> None:
    with (template / "start_server.sh.jinja").open("a") as script:
        script.write("# Changed\n")


def test_the_documented_commands_bring_lf_to_an_older_clone(
    small_history: Path, tmp_path: Path
) -> None:
    service = committed(small_history, tmp_path / "service", RELEASES[-1])
    windows = clone(service, tmp_path / "windows", "core.autocrlf=true")
    assert set(SCRIPTS) <= set(with_crlf(windows))
    update(windows)
    commit_all(windows)
    git(windows, "rm", "--quiet", "--cached", "-r", ".")
    git(windows, "reset", "--quiet", "--hard")
    assert not with_crlf(windows)
    assert not git(windows, "status", "--porcelain")
    assert_same(windows, fresh(small_history, tmp_path / "fresh", like=windows))


def test_scripts_start_without_the_executable_bit(small_history: Path, tmp_path: Path) -> None:
    """As in a clone of commits made with core.fileMode=false."""
    folder = tmp_path / "service"
    copier.run_copy(
        str(small_history), folder, data={"use_channels": False}, defaults=True, quiet=True
    )
    git(folder, "init", "--quiet")
    git(folder, "config", "core.fileMode", "false")
    commit_all(folder)
    service = clone(folder, tmp_path / "clone")
    assert not [file for file in SCRIPTS if (service / file).stat().st_mode & 0o111]

    # Programs that print their arguments.
    programs = service / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "gunicorn", "uvicorn"):
        (programs / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (programs / name).chmod(0o755)
    # start_server.sh reads the settings with it.
    (programs / "python").write_text("#!/bin/sh\necho timeout=25 pause=0\n")
    for dockerfile, server in {"Dockerfile": "gunicorn", "Dockerfile.local": "uvicorn"}.items():
        (line,) = re.findall(r"^ENTRYPOINT (.*)$", (service / dockerfile).read_text(), re.MULTILINE)
        entrypoint = [word.replace("/app", str(service)) for word in json.loads(line)]
        said = run(*entrypoint, "web", cwd=service, PATH=f"{programs}:/usr/bin:/bin")
        assert said.splitlines()[-1].startswith(f"{server} api_core.")


# Translations: https://github.com/dannymcc/may/issues/344


@pytest.mark.parametrize("version", RELEASES)
def test_translations_of_both_sides_survive(
    small_history: Path, tmp_path: Path, version: str
) -> None:
    """The releases had compiled translations in Git, which Git cannot merge."""
    service = committed(small_history, tmp_path / "service", version)
    catalog = service / CATALOG
    # Not at the end of the file, where the template adds messages: that would be a conflict.
    neighbour = 'msgid "male"\n'
    own = f'msgid "Invoice"\nmsgstr "Fatura"\n\n{neighbour}'
    assert neighbour in catalog.read_text()
    catalog.write_text(catalog.read_text().replace(neighbour, own))
    compiled = catalog.with_suffix(".mo")
    compiled.write_bytes(compiled.read_bytes() + b"the team's")
    commit_all(service)
    update(service)
    assert not conflicts(service)
    assert not compiled.exists(), "the catalogue was not compiled at the start"
    assert 'msgid "Invoice"' in catalog.read_text()
    assert set(catalog_entries(TEMPLATE / CATALOG)) < set(catalog_entries(catalog))
    commit_all(service)
    compiled.touch()
    assert not git(service, "status", "--porcelain"), "Git does not ignore the compiled catalogue"


def catalog_entries(catalog: Path) -> list[str]:
    return re.findall(r'^msgid "(.+)"$', catalog.read_text(), flags=re.MULTILINE)


# Ignored and renamed files: https://github.com/copier-org/copier/issues/2729


def test_an_ignored_file_is_lost_unless_it_is_skipped(small_history: Path, tmp_path: Path) -> None:
    """Copier overwrites ignored files that the template changed, and deletes the others."""

    def change(template: Path) -> None:
        (template / "notes.txt").write_text("ours")
        (template / "gunicorn.conf.py").write_text("ours")

    ignored = ["notes.txt", "gunicorn.conf.py", ".editorconfig"]
    later = later_release(small_history, tmp_path / "later", change)
    service = committed(later, tmp_path / "service", NEXT)
    git(service, "rm", "--quiet", "--cached", *ignored[1:])
    with (service / ".gitignore").open("a") as rules:
        rules.writelines(f"{name}\n" for name in ignored)
    commit_all(service)

    def written(*options: str) -> list[str | None]:
        for name in ignored:
            (service / name).write_text("theirs")
        message = copier_command("update", "--defaults", *options, cwd=service)
        assert "overwritten or deleted" in message
        listed = shell(command_of(message, "ignored"), cwd=service)
        assert [name for name in ignored if (service / name).exists()] == [
            name for name in ignored if f"!! {name}\n" in listed
        ]
        files = [service / name for name in ignored]
        return [file.read_text() if file.exists() else None for file in files]

    assert written(*(f"--skip={name}" for name in ignored)) == ["theirs"] * 3
    shell(WAY_BACK, cwd=service)
    assert written() == ["ours", "ours", None]


def test_a_module_that_the_team_renamed_is_listed_and_its_fix_can_be_fetched(
    small_history: Path, tmp_path: Path
) -> None:
    module, renamed = "apps/user/tokens.py", "apps/user/jwt.py"

    def change(template: Path) -> None:
        with (template / module).open("a") as file:
            file.write("# Fixed\n")

    later = later_release(small_history, tmp_path / "later", change)
    service = committed(later, tmp_path / "service", NEXT)
    git(service, "mv", module, renamed)
    commit_all(service)
    message = copier_command("update", "--defaults", cwd=service)
    assert not (service / module).exists()
    assert "# Fixed" not in (service / renamed).read_text()
    (command,) = re.findall(r"^Files that you renamed .*: (git log .*)$", message, re.MULTILINE)
    assert f"{module}\t{renamed}" in shell(command, cwd=service)

    # As docs/update.md describes.
    shell(WAY_BACK, cwd=service)
    git(service, "mv", renamed, module)
    commit_all(service)
    update(service)
    git(service, "mv", module, renamed)
    assert (service / renamed).read_text().endswith("# Fixed\n")


# Answers files with other names: https://github.com/copier-org/copier/issues/451


@pytest.mark.parametrize("name", [".copier-answers.api.yml", ".copier answers/api.yml"])
def test_the_readme_prints_commands_that_find_the_answers_file(
    small_history: Path, tmp_path: Path, name: str
) -> None:
    service = tmp_path / "service"
    copier_command(
        "copy", "--defaults", "-a", name, f"-rv{NEXT}", small_history, service, cwd=tmp_path
    )
    git(service, "init", "--quiet")
    commit_all(service)
    readme = (service / "README.md").read_text()
    commands = re.findall(r"uvx (copier (?:check-)?update[^`\n]*)", readme)
    assert len(commands) == 2
    for command in commands:
        options = " --defaults" if " update" in command else ""
        shell(f"{shutil.which(sys.executable)} -m {command}{options}", cwd=service)
