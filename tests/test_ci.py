"""The pipelines of a service are linted, and their commands run as the provider runs them."""

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from _pytest.outcomes import Failed
from pytest_copier.plugin import CopierFixture
from support import (
    IN_PIPELINES,
    OPTIONS,
    ROOT,
    UV,
    VARIANTS,
    Answers,
    combinations_of,
    copy,
    name_of,
    run,
    servers,
)

EVERYTHING: Answers = {
    "database": "postgres",
    "use_channels": True,
    "use_event_sync": True,
    "use_docker": True,
}
GITHUB, GITLAB = IN_PIPELINES

PIPELINE = {"github": ".github/workflows/ci.yml", "gitlab": ".gitlab-ci.yml"}
PIPELINES = [".github", ".gitlab-ci.yml", "renovate.json", ".pre-commit-config.yaml", "check.sh"]


# The files


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_linters_find_no_error_in_any_pipeline(
    template: Path, tmp_path: Path, provider: str
) -> None:
    """In any combination of the other answers."""
    options: dict[str, list[str | bool]] = {
        **OPTIONS,
        "language_code": ["en-us"],
        "ci_provider": [provider],
    }
    for answers in combinations_of(options):
        copy(template, tmp_path / name_of(answers), only=PIPELINES, **answers)
    if provider == "github":
        run("git", "init", "--quiet", cwd=tmp_path)
        workflows = files(tmp_path, ".github/workflows/*.yml")
        assert len(workflows) == 32
        run("actionlint", *workflows, cwd=tmp_path)
        bots = files(tmp_path, ".github/dependabot.yml")
        run("zizmor", "--offline", "--quiet", *workflows, *bots, cwd=tmp_path)
        check_schema("vendor.dependabot", *bots)
    else:
        pipelines = files(tmp_path, ".gitlab-ci.yml")
        assert len(pipelines) == 16
        check_schema("vendor.gitlab-ci", "--data-transform=gitlab-ci", *pipelines)
        check_schema("vendor.renovate", *files(tmp_path, "renovate.json"))
    run("prek", "validate-config", *files(tmp_path, ".pre-commit-config.yaml"), cwd=tmp_path)
    run("shellcheck", *files(tmp_path, "check.sh"), cwd=tmp_path)


def files(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(f"*/{pattern}"))
    assert found
    return found


def check_schema(schema: str, *arguments: str | Path) -> None:
    run("check-jsonschema", f"--builtin-schema={schema}", *arguments, cwd=ROOT)


def test_a_service_has_the_actions_of_this_repository() -> None:
    """Dependabot only updates those of this repository."""
    pinned = re.compile(r"^ +- uses: (\S+@[0-9a-f]{40} # v[\d.]+)$", re.MULTILINE)
    ours = {
        action
        for workflow in (ROOT / ".github/workflows").iterdir()
        for action in pinned.findall(workflow.read_text())
    }
    for workflow in (ROOT / "template/.github/workflows").iterdir():
        service = workflow.read_text()
        assert len(pinned.findall(service)) == service.count("uses:")
        assert set(pinned.findall(service)) <= ours


# The commands


class Step(NamedTuple):
    name: str
    script: str
    variables: dict[str, str]


class Pipeline:
    """A service with its pipeline. Each job runs in a clone."""

    def __init__(self, service: Path, provider: str, machine: Path) -> None:
        self.service = service
        self.provider = provider
        self.machine = machine
        self.config: dict[str, Any] = yaml.safe_load((service / PIPELINE[provider]).read_text())

    def clone(self) -> Path:
        """Clone the service, as the provider does for each job."""
        folder = Path(tempfile.mkdtemp(dir=self.machine), "clone")
        run("git", "clone", "--quiet", self.service, folder, cwd=self.machine)
        return folder

    def steps(self, job: str) -> list[Step]:
        """Return the scripts of a job in their order, each with its variables."""
        if self.provider == "gitlab":
            return self._gitlab_steps(job)
        config = self.config["jobs"][job]
        return [
            Step(step["name"], step["run"], config.get("env", {}) | step.get("env", {}))
            for step in config["steps"]
            if "run" in step
        ]

    def _gitlab_steps(self, job: str) -> list[Step]:
        config = self.config[job]
        parent = self.config.get(config.get("extends"), {})
        variables = parent.get("variables", {}) | config.get("variables", {})
        # One shell runs all lines, so they share variables.
        lines = [*parent.get("before_script", []), *config["script"]]
        return [
            Step(job, "\n".join(lines), {name: str(value) for name, value in variables.items()})
        ]

    def execute(self, step: Step, folder: Path, **variables: str) -> str:
        """Run a step in bash, as both providers do, up to the first command that fails."""
        has_uv = self.provider == "github" or (folder / ".venv").exists()
        place = {
            "RUNNER_TEMP": str(folder.parent),
            "GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md"),
        }
        return run(
            *["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.script],
            cwd=folder,
            **{**step.variables, **place, "PATH": self.path(uv=has_uv), **variables},
        )

    def path(self, *, uv: bool) -> str:
        """Return a PATH with Python, pip and Git, and uv if a step has installed it."""
        python = [self.machine / "python/bin", Path(sys.base_prefix) / "bin"]
        programs = [Path(shutil.which(UV) or UV).parent] if uv else []
        return os.pathsep.join(map(str, [*python, *programs, "/usr/bin", "/bin"]))


def alone(answers: Answers) -> Any:
    """Return a parameter whose tests run in one worker, so that the service is generated once."""
    group = pytest.mark.xdist_group(name_of(answers))
    return pytest.param(answers, id=answers["ci_provider"], marks=group)


@pytest.fixture(scope="module", params=[alone(GITHUB), alone(GITLAB)])
def pipeline(request: pytest.FixtureRequest, copier: CopierFixture, short_path: Path) -> Pipeline:
    answers: Answers = request.param
    machine = short_path / f"ci-{answers['ci_provider']}"
    run(UV, "venv", "--quiet", "--seed", machine / "python", cwd=short_path)
    return begin(copier.copy(machine / "service", **answers).path, answers["ci_provider"])


def begin(service: Path, provider: str) -> Pipeline:
    """Generate a service and return its pipeline."""
    run("git", "init", "--quiet", "--initial-branch=main", cwd=service)
    commit(service, "Start")
    return Pipeline(service, provider, service.parent)


def commit(folder: Path, message: str) -> None:
    run("git", "add", "--all", cwd=folder)
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    run("git", *author, "commit", "--quiet", "--message", message, cwd=folder)


@contextmanager
def services_of(job: list[Step], clone: Path) -> Iterator[dict[str, str]]:
    """Yield the addresses of a job's services.

    PostgreSQL and Redis run here without containers, at other addresses.
    """
    with ExitStack() as stack:
        addresses = {}
        if "DATABASE_URL" in job[-1].variables:
            database = servers.database(clone, "postgres")
            addresses["DATABASE_URL"] = stack.enter_context(database)
        if "REDIS_URL" in job[-1].variables:
            addresses["REDIS_URL"] = stack.enter_context(redis(clone))
        yield addresses


@contextmanager
def redis(clone: Path) -> Iterator[str]:
    """Yield the address of a Redis, or of the Valkey that a service installs for its tests."""
    program = shutil.which("redis-server") or next(clone.glob(".venv/**/valkey-server"))
    port = str(servers.free_port())
    command = [program, "--bind", "127.0.0.1", "--port", port, "--save", ""]
    with servers.started(*command, cwd=clone):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def checked(pipeline: Pipeline) -> Path:
    """A clone in which all steps but the tests have passed."""
    clone = pipeline.clone()
    for step in pipeline.steps("code"):
        pipeline.execute(step, clone)
    return clone


def test_a_new_service_passes_the_checks_of_its_pipeline(checked: Path) -> None:
    assert not run("git", "status", "--porcelain", cwd=checked)


def test_a_new_service_passes_the_tests_of_its_pipeline(pipeline: Pipeline) -> None:
    clone = pipeline.clone()
    *install, tests = pipeline.steps("tests")
    for step in install:
        pipeline.execute(step, clone)
    with services_of([tests], clone) as addresses:
        said = pipeline.execute(tests, clone, **addresses)
    assert re.search(r"^=+ \d+ passed", said, re.MULTILINE)


@pytest.mark.parametrize("answers", VARIANTS, ids=name_of)
def test_the_pipeline_runs_every_part_of_check_sh(
    template: Path, tmp_path: Path, answers: Answers
) -> None:
    """And without arguments, the script runs all of them in the same order."""
    copy(template, tmp_path, only=PIPELINES, **answers)
    parts = ["code", "tests", "image"] if answers["use_docker"] else ["code", "tests"]
    if answers["ci_provider"] != "none":
        pipeline = (tmp_path / PIPELINE[answers["ci_provider"]]).read_text()
        assert re.findall(r" sh check\.sh (\w+)$", pipeline, re.MULTILINE) == parts
    everything, _said = check_sh(tmp_path)
    assert everything == [command for part in parts for command in check_sh(tmp_path, part)[0]]


def test_check_sh_stops_at_the_first_command_that_fails(template: Path, tmp_path: Path) -> None:
    copy(template, tmp_path, only=["check.sh"])
    commands, _said = check_sh(tmp_path)
    assert len(commands) == 12
    for number, command in enumerate(commands):
        assert check_sh(tmp_path, failing=command)[0] == commands[: number + 1]


def test_a_package_index_that_cannot_be_reached_is_named(template: Path, tmp_path: Path) -> None:
    copy(template, tmp_path, only=["check.sh"])
    commands, said = check_sh(tmp_path)
    assert "No package was audited" not in said
    audit = next(command for command in commands if "pip-audit" in command)
    silent, said = check_sh(tmp_path, failing=audit, prints="")
    assert silent == commands
    assert "No package was audited" in said


STAND_IN = """\
#!/bin/sh
command="${0##*/} $*"
echo "$command" >> commands
if [ "$command" = "$FAILING" ]; then
    printf "$PRINTS"
    exit 1
fi
"""


def check_sh(
    service: Path, *parts: str, failing: str = "", prints: str = "found"
) -> tuple[list[str], str]:
    """Run the script with stand-ins for its programs. Return their commands, and the output."""
    programs = service / "stand-ins"
    programs.mkdir(exist_ok=True)
    for name in ("docker", "lint-imports", "mypy", "pytest", "python", "ruff", "uvx"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    for name in ("commands", "pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        (service / name).write_text("")
    result = subprocess.run(
        ["sh", "check.sh", *parts],
        cwd=service,
        env={"PATH": f"{programs}:/usr/bin:/bin", "FAILING": failing, "PRINTS": prints},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert bool(result.returncode) == bool(failing and prints), result.stdout
    commands = (service / "commands").read_text().splitlines()
    return [command for command in commands if command != "docker info"], result.stdout


class Fault(NamedTuple):
    """A change of one file, the command that must fail, and a part of its output."""

    file: str
    old: str
    new: str
    command: str
    says: str


VIEW = """\
from django.urls import path
from rest_framework.permissions import AllowAny
from rest_framework.views import APIView

class View(APIView):
    permission_classes = [AllowAny]

    def get(self, request):
        pass

urlpatterns = [path("x/", View.as_view())]
"""
FIELD = '    to = models.EmailField(_("to"))\n'
FAULTS = {
    "style": Fault("manage.py", "main()", "main( )", "ruff format --check", "would be reformatted"),
    "types": Fault("manage.py", "sys.argv)", "1)", "mypy", "Argument 1"),
    "imports": Fault(
        "common/html.py",
        "import nh3\n",
        "import nh3\n\nimport apps.user.models\n",
        "lint-imports",
        "common is not allowed to import apps.user",
    ),
    "migrations": Fault(
        "apps/communication/models.py",
        FIELD,
        FIELD + FIELD.replace("to =", "copy_to ="),
        "python manage.py makemigrations --check --dry-run",
        "Add field copy_to",
    ),
    "schema": Fault(
        "apps/api/urls_v2.py",
        "urlpatterns: list[URLPattern | URLResolver] = []\n",
        VIEW,
        "python manage.py spectacular --validate --fail-on-warn --file /dev/null",
        "unable to guess serializer",
    ),
    "production settings": Fault(
        "api_core/settings/prod.py",
        "SESSION_COOKIE_SECURE = True\n",
        "",
        "production_settings",
        "security.W012",
    ),
    "locks": Fault(
        "pyproject.toml",
        "dependencies = [\n",
        'dependencies = [\n    "tzdata",\n',
        "locks",
        "+tzdata==",
    ),
}


@pytest.mark.parametrize("pipeline", [alone(GITHUB)], indirect=True)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_stops_check_sh(pipeline: Pipeline, checked: Path, fault: Fault) -> None:
    text = (checked / fault.file).read_text()
    assert fault.old in text
    (checked / fault.file).write_text(text.replace(fault.old, fault.new))
    script = (checked / "check.sh").read_text()
    if f"    run {fault.command}\n" in script:
        command = f".venv/bin/{fault.command}"
    else:
        assert f"    {fault.command}\n" in script
        command = f"sh check.sh {fault.command}"
    try:
        with pytest.raises(Failed, match=re.escape(fault.says)):
            pipeline.execute(Step(fault.command, command, {}), checked)
    finally:
        run("git", "checkout", "--quiet", ".", cwd=checked)


def test_the_pipeline_shows_changes_of_the_api(pipeline: Pipeline) -> None:
    job = "schema" if pipeline.provider == "github" else "changes of the API"
    clone = pipeline.clone()
    file = clone / "apps/user/api/serializers.py"
    login = "class LoginSerializer(serializers.Serializer[Any]):\n"
    field = "    device = serializers.CharField()\n"
    assert login in file.read_text()
    file.write_text(file.read_text().replace(login, login + field))
    commit(clone, "Ask for the device")
    before = run("git", "rev-parse", "HEAD^1", cwd=clone).strip()
    for step in pipeline.steps(job):
        said = pipeline.execute(step, clone, CI_MERGE_REQUEST_DIFF_BASE_SHA=before)
    if pipeline.provider == "github":
        said = (clone.parent / "summary.md").read_text()
    assert re.search(r"^\+ +device:\n\+ +type: string$", said, re.MULTILINE)


@pytest.mark.parametrize("pipeline", [alone(GITHUB)], indirect=True)
def test_the_job_pass_needs_all_other_jobs(pipeline: Pipeline) -> None:
    (step,) = pipeline.steps("pass")
    needed = pipeline.config["jobs"]["pass"]["needs"]
    assert set(needed) == set(pipeline.config["jobs"]) - {"pass", "schema"}
    pipeline.execute(step, pipeline.service, RESULTS="success success skipped")
    for result in ("failure", "cancelled"):
        with pytest.raises(Failed):
            pipeline.execute(step, pipeline.service, RESULTS=f"success {result} success")


@pytest.mark.parametrize("pipeline", [alone(GITLAB)], indirect=True)
def test_hooks_check_each_commit_and_push(pipeline: Pipeline, checked: Path) -> None:
    prek = [shutil.which("prek") or "prek", "run", "--all-files"]
    path = pipeline.path(uv=True)
    run(*prek, cwd=checked, PATH=path)
    run(*prek, "--hook-stage=pre-push", cwd=checked, PATH=path)
    (checked / "manage.py").write_text("import os,sys\n")
    with pytest.raises(Failed, match="ruff check"):
        run(*prek, cwd=checked, PATH=path)
    run("git", "checkout", "--quiet", ".", cwd=checked)


@pytest.mark.docker
@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_the_pipeline_builds_and_starts_the_image(
    copier: CopierFixture, short_path: Path, provider: str
) -> None:
    slug = f"test-{secrets.token_hex(3)}"
    answers = EVERYTHING | {"ci_provider": provider, "project_slug": slug}
    pipeline = begin(copier.copy(short_path / slug / "service", **answers).path, provider)
    job = pipeline.steps("image" if provider == "github" else "build of the image")
    clone = pipeline.clone()

    def build() -> str:
        said = [pipeline.execute(step, clone, PATH=os.environ["PATH"]) for step in job]
        return said[-1]

    try:
        assert "no issues" in build()
        with (clone / "api_core/settings/prod.py").open("a") as settings:
            settings.write('PARTNER_KEY = env.str("PARTNER_KEY")\n')
        with pytest.raises(Failed, match='"PARTNER_KEY" not set'):
            build()
    finally:
        run("docker", "image", "rm", "--force", slug, cwd=clone)
