"""Every variant, installed in an environment of its own, in development and production."""

import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from itertools import combinations
from pathlib import Path

import pytest
from _pytest.outcomes import Failed
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pytest_copier.plugin import CopierFixture
from support import (
    CODE_OPTIONS,
    IN_PIPELINES,
    OPTIONS,
    SERVICE_PYTHON,
    UV,
    VARIANTS,
    Answers,
    combinations_of,
    in_one_worker,
    name_of,
    programs,
    run,
    tracked,
)
from support.locks import here
from support.service_docs import CONTRIBUTING, commands, section

# The variants whose types are checked and whose own tests run here. test_ci.py does both in the
# pipelines of two others. OWN_TESTS=all runs all of them here.
if os.environ.get("OWN_TESTS") == "all":
    TYPED = TESTED = VARIANTS
else:
    TYPED = [variant for variant in VARIANTS if variant not in IN_PIPELINES]
    TESTED = [VARIANTS[number] for number in (3, 6, 7)]

# Texts at the limits of what the questions accept.
TEXTS = {
    "project_name": "Serviço d'Água & Cia: 100% #1, um nome de sessenta letras aa",
    "project_description": "Uma API d'Água & Cia: 100% #1 $HOME *a* [b] (c) | é, no. " + "x" * 140,
    "author_name": "Conceição D'Ávila & Filhos",
}

# Words of the two CI providers. Links to the repository of a library are allowed.
GITHUB = r"github(?!\.com)|dependabot|pull request"
GITLAB = r"gitlab(?!\.com)|renovate|merge request"

# Words that a variant must not contain, by the answer that excludes them.
FOREIGN: dict[tuple[str, str | bool], re.Pattern[str]] = {
    ("database", "sqlite"): re.compile(r"postgres|psycopg|pgserver", re.IGNORECASE),
    ("use_docker", False): re.compile(r"\bdocker|\bcompose\b|collectstatic=", re.IGNORECASE),
    ("use_channels", False): re.compile(
        r"\bchannels|channel.layer|daphne|\bredis(?!t)|valkey|websocket|\bws:|\bws/", re.IGNORECASE
    ),
    ("use_event_sync", False): re.compile(
        r"(?<!use_)event.?sync|event_id|\bsqs\b|SQS_|amazon|\baws\b|AWS_|boto|\bmoto\b|flask"
        r"|\brelay\b|APP_KEY",
        re.IGNORECASE,
    ),
    ("ci_provider", "github"): re.compile(GITLAB, re.IGNORECASE),
    ("ci_provider", "gitlab"): re.compile(GITHUB, re.IGNORECASE),
    ("ci_provider", "none"): re.compile(rf"(?i:{GITHUB}|{GITLAB})|\bCI\b"),
}

PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "api_core.settings.prod",
    "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
    "DJANGO_ALLOWED_HOSTS": "api.example.com",
    "URL_BASE": "https://api.example.com",
    "EMAIL_HOST": "smtp.example.com",
    "EMAIL_PORT": "587",
    "EMAIL_HOST_USER": "service",
    "EMAIL_HOST_PASSWORD": "secret",
    "DEFAULT_FROM_EMAIL": "service@example.com",
    "REDIS_URL": "rediss://user:password@redis.example.com:6379/0",
    "SQS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/events",
    "APP_KEY": secrets.token_urlsafe(48),
}
DATABASE_URLS = {
    "postgres": "postgres://user:password@db.example.com:5432/service",
    "sqlite": "sqlite:///db.sqlite3",
}

# Values that production refuses, "" for a variable that is missing. Each group is for one start, which
# names all that it refuses.
REFUSED = [
    {
        "DJANGO_SECRET_KEY": "",
        "DJANGO_SECRET_KEY_FALLBACKS": "abcdefgh" * 8 + ",,",
        "DJANGO_ALLOWED_HOSTS": "",
        "DATABASE_URL": "",
        "URL_BASE": "http://api.example.com",
        "EMAIL_HOST": "",
        "EMAIL_PORT": "smtp",
        "DEFAULT_FROM_EMAIL": "noreply",
        "NUM_PROXIES": "-1",
        "SCRIPT_NAME": "svc",
        "DJANGO_DEBUG": "true",
        "REGISTER_RETURNS_CONFIRM_TOKEN": "true",
    },
    {
        "DJANGO_SECRET_KEY": "short",
        "DJANGO_ALLOWED_HOSTS": "*",
        "DATABASE_URL": "oracle",
        "SCRIPT_NAME": "/svc/",
    },
    {
        "DJANGO_ALLOWED_HOSTS": "https://api.example.com",
        "DATABASE_URL": "mysql://db.example.com/service",
    },
    {"DJANGO_ALLOWED_HOSTS": "api.example.com:443"},
]
# The same for values that are refused if an option is chosen.
REFUSED_WITH = {
    "use_channels": [{"REDIS_URL": ""}, {"REDIS_URL": "localhost:6379"}],
    "use_event_sync": [
        {"SQS_QUEUE_URL": "", "APP_KEY": "q", "APP_KEY_FALLBACKS": "q"},
        {"SQS_QUEUE_URL": "events"},
    ],
}

# Variables that start_server.sh and gunicorn.conf.py read.
READ_BY_SERVERS = {"BIND", "PORT", "WEB_CONCURRENCY"}
READ_BY_LIBRARIES = {"SENTRY_RELEASE", "SENTRY_ENVIRONMENT", "OTEL_EXPORTER_OTLP_HEADERS"}

# Variables that boto3 reads itself, and a program that prints what it has read.
READ_BY_BOTO3 = {
    "AWS_ACCESS_KEY_ID": "key-id",
    "AWS_SECRET_ACCESS_KEY": "secret-key",
    "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:5000",
}
BOTO3_READS = """
import boto3
client = boto3.client("sqs", "us-east-1")
credentials = boto3.Session().get_credentials()
print(credentials.access_key, credentials.secret_key, client.meta.endpoint_url)
"""

# Prints the names under which the installed packages are imported; some list others as well.
IMPORT_NAMES = """
import json, importlib.metadata, importlib.util
names = importlib.metadata.packages_distributions()
print(json.dumps(sorted(n for n in names if n.isidentifier() and importlib.util.find_spec(n))))
"""


class Variant:
    """A generated service, committed and installed from its lock."""

    def __init__(self, folder: Path, answers: Answers) -> None:
        self.folder = folder
        self.answers = answers

    def run(self, *command: str, **variables: str) -> str:
        """Run a program of the service's environment."""
        program, *arguments = command
        return run(programs(self.folder) / program, *arguments, cwd=self.folder, **variables)

    def manage(self, *command: str, **variables: str) -> str:
        return self.run("python", "manage.py", *command, **variables)

    @contextmanager
    def dotenv(self, text: str = "") -> Iterator[None]:
        """Replace .env with this text during the block."""
        file = self.folder / ".env"
        own = file.read_text()
        file.write_text(text)
        try:
            yield
        finally:
            file.write_text(own)

    def texts(self) -> dict[Path, str]:
        """Return the files that Git does not ignore, with their texts."""
        return {file: (self.folder / file).read_text() for file in tracked(self.folder)}


@pytest.mark.parametrize("questions", list(combinations(OPTIONS, 2)), ids="-".join)
def test_every_pair_of_answers_is_in_a_variant(questions: tuple[str, str]) -> None:
    assert_every_pair(questions, VARIANTS)


@pytest.mark.parametrize("questions", list(combinations(CODE_OPTIONS, 2)), ids="-".join)
def test_own_tests_run_with_every_pair_of_answers_that_change_code(
    questions: tuple[str, str],
) -> None:
    assert_every_pair(questions, [*IN_PIPELINES, *TESTED])


def assert_every_pair(questions: tuple[str, str], variants: list[Answers]) -> None:
    met = [{question: variant[question] for question in questions} for variant in variants]
    for pair in combinations_of({question: OPTIONS[question] for question in questions}):
        assert pair in met


@pytest.fixture(scope="module", params=in_one_worker(VARIANTS))
def variant(request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path) -> Variant:
    answers: Answers = request.param
    folder = short_path / name_of(answers)
    # In one process, pytest returns to a variant, because some tests run in a few only.
    if not folder.exists():
        copier.copy(folder, **TEXTS, **answers)
        run("git", "init", "--quiet", cwd=folder)
        run(UV, "venv", "--quiet", "--python", SERVICE_PYTHON, cwd=folder)
        lock = folder / "requirements-dev.txt"
        run(UV, "pip", "install", "--quiet", "--require-hashes", "--requirement", lock, cwd=folder)
    return Variant(folder, answers)


def test_a_variant_passes_ruff(variant: Variant) -> None:
    variant.run("ruff", "check")
    variant.run("ruff", "format", "--check")


def test_imports_point_one_way(variant: Variant) -> None:
    variant.run("lint-imports")


@pytest.mark.parametrize("variant", in_one_worker(TYPED), indirect=True)
def test_a_variant_passes_mypy(variant: Variant) -> None:
    variant.run("mypy")


def test_a_variant_has_all_migrations(variant: Variant) -> None:
    variant.manage("makemigrations", "--check", "--dry-run")
    variant.manage("migrate")


def test_collecting_the_messages_changes_no_catalogue(variant: Variant) -> None:
    """If this fails after a message was changed, run `nox -s messages`."""
    if not shutil.which("xgettext"):
        pytest.skip("gettext is not installed; .ci/run installs it")
    catalogs = [file for file in variant.texts() if file.suffix == ".po"]
    before = {file: (variant.folder / file).read_text() for file in catalogs}
    assert before
    (command,) = commands(section(CONTRIBUTING, "Translate messages"))
    variant.manage(*command.removeprefix("uv run manage.py ").split())
    assert {file: (variant.folder / file).read_text() for file in catalogs} == before


def test_check_sh_passes_production_settings_whatever_env_contains(variant: Variant) -> None:
    with variant.dotenv("DJANGO_DEBUG=true\n"):
        said = run("sh", "check.sh", "production_settings", cwd=variant.folder)
    assert "no issues (0 silenced)" in said


def test_production_names_what_it_refuses(variant: Variant) -> None:
    assert_refuses(variant, 0)


@pytest.mark.parametrize("variant", in_one_worker([VARIANTS[0], VARIANTS[-1]]), indirect=True)
@pytest.mark.parametrize("number", range(1, len(REFUSED)))
def test_production_names_other_values_that_it_refuses(variant: Variant, number: int) -> None:
    assert_refuses(variant, number)


@pytest.mark.parametrize("variant", in_one_worker([VARIANTS[0], VARIANTS[-1]]), indirect=True)
def test_production_refuses_an_unencrypted_smtp_login(variant: Variant) -> None:
    assert_refused(variant, {"EMAIL_PORT": "25"}, named={"EMAIL_HOST_USER"})


def assert_refuses(variant: Variant, number: int) -> None:
    """Production names every value of one of the groups."""
    refused = dict(REFUSED[number])
    for option, groups in REFUSED_WITH.items():
        if variant.answers[option]:
            refused |= groups[number] if number < len(groups) else {}
    assert_refused(variant, refused, named=set(refused))


@pytest.mark.parametrize("option", REFUSED_WITH)
def test_a_variant_has_no_variable_of_another_option(variant: Variant, option: str) -> None:
    names = {name for group in REFUSED_WITH[option] for name in group}
    mentioned = {name for text in variant.texts().values() for name in names if name in text}
    assert mentioned == (names if variant.answers[option] else set())


def assert_refused(variant: Variant, values: dict[str, str], named: set[str]) -> None:
    environment = {**PRODUCTION, "DATABASE_URL": DATABASE_URLS[variant.answers["database"]]}
    environment = {name: value for name, value in (environment | values).items() if value}
    with variant.dotenv(), pytest.raises(Failed) as failed:
        variant.manage("check", **environment)
    assert "Traceback" not in str(failed.value)
    _before, _header, lines = str(failed.value).partition(
        "\nConfiguration error in api_core.settings.prod:\n"
    )
    assert [line.split(": ")[0] for line in sorted(lines.splitlines())] == [
        f"  {name}" for name in sorted(named)
    ]


def test_the_example_names_everything_that_production_requires(variant: Variant) -> None:
    """Production starts with the secrets filled in, and uses no other value of the example."""
    example = (variant.folder / ".env.example").read_text()
    secret_key = f"DJANGO_SECRET_KEY={secrets.token_urlsafe(64)}"
    assert re.findall(r"^[^#\s].*", example, re.MULTILINE) == [
        "DJANGO_SETTINGS_MODULE=api_core.settings.dev"
    ]
    filled = example.replace("settings.dev\n", "settings.prod\n", 1)
    filled = filled.replace("#DJANGO_SECRET_KEY=", secret_key)
    with variant.dotenv(filled), pytest.raises(Failed) as failed:
        variant.manage("check", "--deploy")
    _command, status, header, *lines = str(failed.value).splitlines()
    assert (status, header) == ("exit 1", "Configuration error in api_core.settings.prod:")
    missing = {"DJANGO_ALLOWED_HOSTS", "URL_BASE", "DATABASE_URL", "EMAIL_HOST"}
    if variant.answers["use_channels"]:
        missing.add("REDIS_URL")
    if variant.answers["use_event_sync"]:
        missing.add("SQS_QUEUE_URL")
    assert sorted(lines) == sorted(f"  {name}: Environment variable not set." for name in missing)


@pytest.mark.parametrize("variant", in_one_worker(TESTED), indirect=True)
def test_a_variant_passes_its_own_tests(variant: Variant) -> None:
    """They pass with any .env and any shell variables."""
    names = variables_of(variant)
    # These select the servers that the tests use.
    exported = set(names) - {"DATABASE_URL", "REDIS_URL"}
    with variant.dotenv("".join(f"{name}=hostile\n" for name in names)):
        variant.run(
            "pytest",
            "-n0",
            "--quiet",
            "--cov",
            "--cov-fail-under=90",
            **dict.fromkeys(exported, "hostile"),
        )


def variables_of(variant: Variant) -> list[str]:
    """Return the names of the variables in .env.example."""
    example = (variant.folder / ".env.example").read_text()
    return re.findall(r"^#?([A-Z][A-Z0-9_]+)=", example, flags=re.MULTILINE)


def needed(variant: Variant, requirements: list[str]) -> set[str]:
    """Return the names of all installed packages that these requirements need."""
    (site_packages,) = variant.folder.glob(".venv/[Ll]ib/**/site-packages")
    installed = {
        canonicalize_name(distribution.name): [
            Requirement(text) for text in distribution.requires or []
        ]
        for distribution in distributions(path=[str(site_packages)])
    }
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, for_extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": for_extra}):
            continue
        package = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (package, extra) not in found:
                found.add((package, extra))
                waiting += [(child, extra) for child in installed[package]]
    return {package for package, _extra in found}


def test_the_locks_contain_exactly_the_packages_that_are_needed(variant: Variant) -> None:
    pyproject = tomllib.loads((variant.folder / "pyproject.toml").read_text())
    runtime = pyproject["project"]["dependencies"]
    groups = pyproject["dependency-groups"]
    for lock, direct in {
        "requirements.txt": runtime,
        "requirements-observability.txt": groups["observability"],
        "requirements-dev.txt": runtime + groups["dev"] + groups["observability"],
    }.items():
        assert {line.name for line in here(variant.folder / lock)} == needed(variant, direct), lock


def test_git_ignores_the_file_with_the_secret(variant: Variant) -> None:
    (secret,) = re.findall(r"DJANGO_SECRET_KEY=(.+)", (variant.folder / ".env").read_text())
    texts = variant.texts()
    assert Path(".env.example") in texts
    assert Path(".env") not in texts
    assert not [file for file, text in texts.items() if secret in text]


def test_the_example_names_the_variables_that_are_read(variant: Variant) -> None:
    texts = variant.texts()
    listed = variables_of(variant)
    read = re.compile(r"""\benv\.\w+\(\s*"([A-Z0-9_]+)\"""")
    code = "".join(text for file, text in texts.items() if file.suffix == ".py")
    elsewhere = {"DJANGO_SETTINGS_MODULE"} | READ_BY_SERVERS | READ_BY_LIBRARIES
    if variant.answers["use_channels"]:
        elsewhere.add("SERVER")
    if variant.answers["use_event_sync"]:
        said = variant.run("python", "-c", BOTO3_READS, **READ_BY_BOTO3)
        assert said.split() == list(READ_BY_BOTO3.values())
        elsewhere |= READ_BY_BOTO3.keys()
        if variant.answers["use_docker"]:
            elsewhere.add("COMPOSE_PROFILES")
    if variant.answers["use_docker"]:
        elsewhere.add("COMPOSE_FILE")
    in_containers = "".join(text for file, text in texts.items() if "docker" in file.as_posix())
    substituted = re.findall(r"\$\{([A-Z0-9_]+):[-?]", in_containers)
    assert len(listed) == len(set(listed))
    assert set(listed) == {*read.findall(code), *substituted, *elsewhere}


def test_a_variant_does_not_look_generated(variant: Variant) -> None:
    for file, text in variant.texts().items():
        assert not re.search(r"[ \t]$", text, flags=re.MULTILINE), (
            f"{file}: a line ends with blanks"
        )
        assert "\n\n\n\n" not in text, f"{file}: has three empty lines"
        assert not text or re.search(r"\A\S[\s\S]*[^\n]\n\Z|\A\S\n\Z", text), (
            f"{file}: begins or ends with an empty line"
        )


def test_a_variant_mentions_no_option_that_was_not_chosen(variant: Variant) -> None:
    for (question, answer), words in FOREIGN.items():
        if variant.answers[question] == answer:
            mentions = {file: words.findall(text) for file, text in variant.texts().items()}
            assert not {file: found for file, found in mentions.items() if found}


def test_a_service_starts_after_uv_sync(copier: CopierFixture, short_path: Path) -> None:
    """With only uv, as the message after the copy describes."""
    service = copier.copy(short_path / "uv", database="sqlite").path
    run(UV, "run", "manage.py", "migrate", cwd=service)
    run(UV, "sync", "--locked", cwd=service)
