"""Services that are installed, hold data, and run their own tests after an update."""

import re
from pathlib import Path

import pytest
from _pytest.outcomes import Failed
from edits import edit, insert, missing
from support import ROOT, UV, run
from test_locks import LOCKS, locked
from updating import (
    RELEASES,
    commit_all,
    committed,
    conflicts,
    fresh,
    git,
    later_release,
    point_to,
    update,
)

ADD_DATA = """
from apps.user.models import User
user = User.objects.create_user("ana@example.com", "a long password", first_name="Ana")
"""
READ_DATA = """
from apps.user.models import User
print("first name:", User.objects.get(email="ana@example.com").first_name)
"""
ANA = "first name: Ana\n"


class Service:
    """An installed service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(UV, "venv", "--quiet", cwd=folder)
        self.install()

    def install(self) -> None:
        lock = ["--require-hashes", "--requirement", "requirements-dev.txt"]
        run(UV, "pip", "install", "--quiet", *lock, cwd=self.folder)

    def run(self, program: str, *arguments: str) -> str:
        return run(self.folder / ".venv/bin" / program, *arguments, cwd=self.folder)

    def manage(self, *arguments: str) -> str:
        return self.run("python", "manage.py", *arguments)

    def shell(self, code: str) -> str:
        return self.manage("shell", "--verbosity=0", "--command", code)

    def lock(self) -> None:
        """Lock anew, by the commands that docs/work.md gives."""
        page = (ROOT / "docs/work.md").read_text()
        commands = re.findall(r"^ {4}uv (pip compile .*)$", page, flags=re.MULTILINE)
        assert len(commands) == len(LOCKS)
        for command in commands:
            run(UV, *command.split(), "--quiet", cwd=self.folder)


@pytest.fixture
def service(history: Path, short_path: Path) -> Service:
    """A service of the oldest release, with a team's edits and a user."""
    folder = committed(history, short_path / "edited", RELEASES[0])
    edit(folder)
    service = Service(folder)
    service.lock()
    service.install()
    service.manage("makemigrations", "note")
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
    # The locks are the only files that both changed: ours are taken, and locked anew.
    assert conflicts(folder) <= set(LOCKS)
    for name in conflicts(folder):
        git(folder, "checkout", "--quiet", "--theirs", name)
    assert not missing(folder)
    service.lock()
    other = fresh(history, tmp_path / "fresh", like=folder)
    for name in LOCKS:
        ours, theirs = locked(other / name), locked(folder / name)
        assert theirs == ours | {"python-slugify": "8.0.4", "text-unidecode": "1.3"}

    service.install()
    service.manage("makemigrations", "--check", "--dry-run")
    service.manage("migrate")
    assert service.shell(READ_DATA) == ANA
    service.run("ruff", "check")
    service.run("ruff", "format", "--check")
    service.run("mypy")
    service.run("pytest", "--quiet")
    commit_all(folder)

    # Then the template adds a field to the user too: two migrations follow the same one.
    later = later_release(history, tmp_path / "later", add_nickname)
    point_to(folder, later)
    update(folder)
    assert not conflicts(folder)
    with pytest.raises(Failed, match="Conflicting migrations detected"):
        service.manage("makemigrations", "--check")
    service.manage("makemigrations", "--merge", "--no-input")
    service.manage("migrate")
    assert service.shell(READ_DATA) == ANA
    service.manage("makemigrations", "--check", "--dry-run")
    service.run("pytest", "--quiet", "--no-cov", "apps/user")


def add_nickname(template: Path) -> None:
    """What a release would do that adds a field to the user."""
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
