"""The commands and how-tos in the documents of a generated service work."""

import re
from pathlib import Path

import pytest
from _pytest.outcomes import Failed
from pytest_copier.plugin import CopierFixture
from support import UV, VARIANTS, Answers, copy, name_of, run, service_docs
from support.edits import BASE, ROUTE, SERIALIZERS, URLS, insert
from support.service_docs import code, commands, files, section
from support.updating import commit_all, git

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "AGENTS.md"]
PATH = re.compile(
    r"`((?:api_core|apps|common|docker|locale)/[\w./-]*|[\w.]+\.(?:toml|txt|md|sh|conf\.py))`"
)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
TEST = re.compile(r"def (test_\w+)\(")


@pytest.fixture(scope="module")
def service(copier: CopierFixture, short_path: Path) -> Path:
    """A service with the default answers, in Git and installed."""
    folder = copier.copy(short_path / "documents").path
    git(folder, "init", "--quiet")
    commit_all(folder)
    run(UV, "run", "manage.py", "migrate", cwd=folder)
    return folder


@pytest.mark.parametrize("answers", VARIANTS, ids=name_of)
def test_paths_and_links_in_the_documents_exist(
    copier: CopierFixture, tmp_path: Path, answers: Answers
) -> None:
    service = copier.copy(tmp_path / "service", **answers).path
    for name in DOCUMENTS:
        text = (service / name).read_text()
        paths = [path for path in PATH.findall(text) if not path.startswith("apps/notes")]
        assert not [path for path in paths if not (service / path).exists()], name
        assert all(
            anchor in anchors(service / (file or name)) for file, anchor in LINK.findall(text)
        )
        tests = {
            test for file in service.rglob("test_*.py") for test in TEST.findall(file.read_text())
        }
        assert set(re.findall(r"`(test_\w+)`", text)) <= tests


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, and the empty one for the document itself."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings} | {""}


@pytest.mark.parametrize("answers", VARIANTS, ids=name_of)
def test_the_readme_says_the_same_in_both_languages(
    template: Path, tmp_path: Path, answers: Answers
) -> None:
    """The same headings, rows, commands, code and links, in the same order."""
    portuguese, english = (
        copy(
            template,
            tmp_path / language,
            only=["README.md"],
            **answers | {"language_code": language},
        )
        .joinpath("README.md")
        .read_text()
        for language in ("pt-br", "en-us")
    )
    assert portuguese != english
    for pattern in (r"^#+ ", r"^\|", r"^    .*$", r"<?https?://[^\s)>]+"):
        of_both = [re.findall(pattern, text, re.MULTILINE) for text in (portuguese, english)]
        assert of_both[0] == of_both[1]
    for one, other in zip(portuguese.split("\n\n"), english.split("\n\n"), strict=True):
        assert sorted(re.findall(r"`[^`]+`", one)) == sorted(re.findall(r"`[^`]+`", other))


# One worker, so that the service is installed, compiled and checked for types from the start once.
together = pytest.mark.xdist_group("documents")


@together
def test_the_commands_of_the_documents_leave_a_new_service_unchanged(service: Path) -> None:
    """Style, migrations, messages and hooks pass and change no file. Others run the tests."""
    readme = section((service / "README.md").read_text(), "Desenvolvimento")
    agents = section((service / "AGENTS.md").read_text(), "Commands")
    lines = re.findall(r"`(uvx? [^`]+)`", readme + agents)
    chosen = [
        line for line in dict.fromkeys(lines) if not re.search(r"PACKAGE|pytest|deploy", line)
    ]
    assert len(chosen) > 4
    for line in chosen:
        execute(service, line)
    assert not git(service, "status", "--porcelain")


@together
def test_the_how_tos_of_contributing_work(service: Path) -> None:
    """Follow the whole document in one service, up to the checks before a push."""
    text = (service / "CONTRIBUTING.md").read_text()
    add_a_field(service, section(text, "Add a field to the user"))
    add_an_app(service, text)
    service_docs.write(service, files(section(text, "Change an endpoint for version 2")))
    add_a_setting(service, section(text, "Add a setting"))
    service_docs.write(service, files(section(text, "Send an e-mail")))
    service_docs.write(service, files(section(text, "Run a task in the background")))
    service_docs.write(service, files(section(text, "Add a metric")))
    add_a_job(service, section(text, "Run a command on a schedule"))
    add_an_event(service, section(text, "Send an event and handle its confirmation"))
    add_a_consumer(service, section(text, "Add a WebSocket consumer"))

    *fixes, checks = commands(section(text, "Before you push"))
    assert checks == "sh check.sh"
    for command in [*fixes, "sh check.sh code"]:
        execute(service, command)
    # Its own tests, and those that look at the whole service.
    api = [f"apps/api/tests/test_{name}.py" for name in ("schema", "admin", "schedule")]
    rendering = "apps/communication/tests/test_rendering.py"
    run(UV, "run", "pytest", "-n0", "--quiet", "apps/notes", *api, rendering, cwd=service)


def execute(service: Path, command: str) -> None:
    """Run a command of a document. uv may not be on PATH."""
    programs = {"uv": UV, "uvx": str(Path(UV).with_name("uvx"))}
    run(*(programs.get(word, word) for word in command.split()), cwd=service)


def add_a_field(service: Path, part: str) -> None:
    (field,) = code(part)
    insert(
        service,
        "apps/user/models.py",
        f"    {field}",
        before='    gender = models.CharField(_("gender")',
    )
    for command in commands(part):
        execute(service, command)
    with pytest.raises(Failed, match="test_every_field_of_the_model_is_on_one_list"):
        run(UV, "run", "pytest", "-n0", "apps/user/tests/test_users.py", cwd=service)
    serializers = service / SERIALIZERS
    profile = re.sub(
        r"^(PROFILE = \(.*)\)$", r'\1, "job_title")', serializers.read_text(), flags=re.MULTILINE
    )
    serializers.write_text(profile)
    run(UV, "run", "pytest", "-n0", "apps/user/tests/test_users.py", cwd=service)


def add_an_app(service: Path, text: str) -> None:
    part = section(text, service_docs.APP)
    startapp, *then = commands(part)
    execute(service, startapp)
    for name in ("admin.py", "tests.py", "views.py"):
        assert f"`{name}`" in part
        (service / "apps/notes" / name).unlink()
    service_docs.add_app(service, text)
    insert(service, BASE, '    "apps.notes",\n', before='    "apps.communication",\n')
    assert f"`{ROUTE.strip().rstrip(',')}`" in part
    insert(service, URLS, ROUTE, before='    path("", include("apps.user.api.urls"))')
    for command in then:
        execute(service, command)


def add_a_setting(service: Path, part: str) -> None:
    (setting,) = code(part)
    with (service / BASE).open("a") as base:
        base.write(f"\n{setting}")
    reading = "from django.conf import settings; print(settings.NOTES_PER_USER)"
    shell = [UV, "run", "manage.py", "shell", "--verbosity=0", "-c", reading]
    assert run(*shell, cwd=service) == "100\n"
    assert run(*shell, cwd=service, NOTES_PER_USER="7") == "7\n"
    with pytest.raises(Failed, match="NOTES_PER_USER: "):
        run(*shell, cwd=service, NOTES_PER_USER="0")


def add_a_job(service: Path, part: str) -> None:
    service_docs.write(service, files(part))
    for folder in ("management", "management/commands"):
        (service / "apps/notes" / folder / "__init__.py").touch()
    (line,) = code(part)
    insert(service, BASE, f"    {line}", before='    "clearsessions"')
    assert "0 deleted" in run(UV, "run", "manage.py", "prune_notes", cwd=service)


def add_an_event(service: Path, part: str) -> None:
    service_docs.write(service, files(part))
    app = service / "apps/notes/apps.py"
    app.write_text(app.read_text().replace("import emails ", "import emails, events "))
    assert "import emails, events " in app.read_text()


def add_a_consumer(service: Path, part: str) -> None:
    for name, block in zip(
        ["apps/api/consumers.py", "api_core/routing.py"], code(part), strict=True
    ):
        imports, _, rest = block.partition("\n\n")
        text = (service / name).read_text()
        assert f"`{name}`" in part
        text = text.replace("\nfrom django", f"\n{imports}\nfrom django", 1)
        (service / name).write_text(f"{text}\n\n{rest.lstrip()}")
