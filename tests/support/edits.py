"""Typical edits of a team to its service between two updates."""

import re
from pathlib import Path

from support import service_docs

# Added lines, by their file and the line before or after which they are added.
BASE = "api_core/settings/base.py"
URLS = "apps/api/urls_v1.py"
MODELS = "apps/user/models.py"
SERIALIZERS = "apps/user/api/serializers.py"
TEXT = "apps/user/templates/communication/email/confirm_email/en.html"

ROUTE = '    path("", include("apps.notes.urls")),\n'
FIELD = '    job_title = models.CharField(_("job title"), max_length=100, blank=True)\n'
SETTING = "\n# Notes\n\nNOTES_FOR_EACH_USER = 100\n"
PARAGRAPH = "## Who to ask\n\nThe billing team, in room 12.\n\n"

MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("user", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="job_title",
            field=models.CharField(blank=True, max_length=100, verbose_name="job title"),
        ),
    ]
"""


def insert(service: Path, file: str, text: str, *, before: str) -> None:
    """Insert a text before the only line that begins with ``before``."""
    path = service / file
    found = re.findall(rf"^{re.escape(before)}", path.read_text(), flags=re.MULTILINE)
    assert len(found) == 1, (file, before)
    path.write_text(
        re.sub(rf"^(?={re.escape(before)})", lambda _: text, path.read_text(), flags=re.MULTILINE)
    )


def add_app(service: Path) -> None:
    """Add the app of CONTRIBUTING.md, with its setting and its routes."""
    service_docs.add_app(service)
    insert(service, BASE, '    "apps.notes",\n', before='    "apps.communication",\n')
    insert(service, URLS, ROUTE, before='    path("", include("apps.user.api.urls"))')


def add_field(service: Path) -> None:
    """Add a field to the user, with its migration."""
    insert(service, MODELS, FIELD, before='    gender = models.CharField(_("gender")')
    insert(
        service,
        SERIALIZERS,
        'PROFILE = ("email", "first_name", "last_name", "job_title", "phone", "gender", "date_of_birth")\n',
        before="PROFILE = ",
    )
    drop(service, SERIALIZERS, 'PROFILE = ("email", "first_name", "last_name", "phone"')
    (service / "apps/user/migrations/0002_user_job_title.py").write_text(MIGRATION)


def drop(service: Path, file: str, start: str) -> None:
    """Remove the only line that begins with ``start``."""
    lines = (service / file).read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(start)]
    assert len(lines) - len(kept) == 1, (file, start)
    (service / file).write_text("".join(kept))


def add_package(service: Path) -> None:
    """Add a package to pyproject.toml, without locking it."""
    insert(service, "pyproject.toml", '    "python-slugify==8.0.4",\n', before='    "whitenoise==')


def edit_texts(service: Path) -> None:
    """Edit a setting, an e-mail and the README, and delete a file that the team does not want."""
    with (service / BASE).open("a") as settings:
        settings.write(SETTING)
    email = (service / TEXT).read_text()
    (service / TEXT).write_text(f"{email}<p>Your friends at Billing</p>\n")
    insert(service, "README.md", PARAGRAPH, before="## Configur")
    (service / ".editorconfig").unlink()


def edit(service: Path) -> None:
    """Make all of these edits."""
    add_app(service)
    add_field(service)
    add_package(service)
    edit_texts(service)


def missing(service: Path) -> list[str]:
    """Return the edits that are missing."""
    expected = {
        BASE: ['    "apps.notes",\n', SETTING],
        URLS: [ROUTE],
        MODELS: [FIELD],
        SERIALIZERS: ['"last_name", "job_title", "phone"'],
        TEXT: ["<p>Your friends at Billing</p>\n"],
        "README.md": [PARAGRAPH],
        "pyproject.toml": ['    "python-slugify==8.0.4",\n'],
        "apps/notes/models.py": ["class Note(models.Model):"],
        "apps/user/migrations/0002_user_job_title.py": [MIGRATION],
    }
    lost = [
        f"{file}: {text}"
        for file, texts in expected.items()
        for text in texts
        if text not in (service / file).read_text()
    ]
    return lost + ["deleted .editorconfig"] * (service / ".editorconfig").exists()
