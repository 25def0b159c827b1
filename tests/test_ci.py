"""The pipelines of a service: linted, and their commands run as their provider would run them."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import servers
import yaml
from support import OPTIONS, ROOT, UV, Answers, combinations_of, copy, name_of, run

EVERYTHING: Answers = {
    "database": "postgres",
    "use_channels": True,
    "use_event_sync": True,
    "use_docker": True,
}
NOTHING: Answers = {
    "database": "sqlite",
    "use_channels": False,
    "use_event_sync": False,
    "use_docker": False,
}
# Each provider with all that a pipeline can hold and with the least of it: one of both is run.
RUN = [EVERYTHING | {"ci_provider": "github"}, NOTHING | {"ci_provider": "gitlab"}]

PIPELINES = [".github", ".gitlab-ci.yml", "renovate.json", ".pre-commit-config.yaml"]


# What is written


@pytest.mark.parametrize(
    "answers",
    [
        answers
        for answers in combinations_of({**OPTIONS, "language_code": ["en-us"]})
        if answers["ci_provider"] != "none"
    ],
    ids=name_of,
)
def test_linters_find_nothing(template: Path, tmp_path: Path, answers: Answers) -> None:
    service = copy(template, tmp_path / "service", only=PIPELINES, **answers)
    if answers["ci_provider"] == "github":
        run("git", "init", "--quiet", cwd=service)
        run("actionlint", cwd=service)
        run("zizmor", "--offline", "--quiet", ".github", cwd=service)
        check_schema(service, "vendor.dependabot", ".github/dependabot.yml")
    else:
        check_schema(service, "vendor.gitlab-ci", ".gitlab-ci.yml", "--data-transform=gitlab-ci")
        check_schema(service, "vendor.renovate", "renovate.json")
    run("prek", "validate-config", ".pre-commit-config.yaml", cwd=service)


def check_schema(folder: Path, schema: str, file: str, *options: str) -> None:
    run("check-jsonschema", f"--builtin-schema={schema}", *options, file, cwd=folder)


def test_a_service_has_the_actions_of_this_repository() -> None:
    """Dependabot moves those here alone; a hash counts only with the version beside it."""
    pinned = re.compile(r"^ +- uses: (\S+@[0-9a-f]{40} # v[\d.]+)$", re.MULTILINE)
    ours = {
        action
        for workflow in (ROOT / ".github/workflows").iterdir()
        for action in pinned.findall(workflow.read_text())
    }
    service = (ROOT / "template/.github/workflows/ci.yml.jinja").read_text()
    assert len(pinned.findall(service)) == service.count("uses:")
    assert set(pinned.findall(service)) <= ours


# What is run


class Step(NamedTuple):
    name: str
    script: str
    variables: dict[str, str]


class Pipeline:
    """The scripts of one service's pipeline, and a place to run them in."""

    def __init__(self, service: Path, provider: str) -> None:
        self.service = service
        self.provider = provider
        file = ".github/workflows/ci.yml" if provider == "github" else ".gitlab-ci.yml"
        self.config: dict[str, Any] = yaml.safe_load((service / file).read_text())

    def steps(self, job: str) -> list[Step]:
        """The commands of a job in their order, each with its variables."""
        if self.provider == "github":
            return self._github_steps(job)
        return self._gitlab_steps(job)

    def _github_steps(self, name: str) -> list[Step]:
        job = self.config["jobs"][name]
        return [
            Step(
                step["name"],
                step["run"],
                self.config["env"] | job.get("env", {}) | step.get("env", {}),
            )
            for step in job["steps"]
            if "run" in step
        ]

    def _gitlab_steps(self, name: str) -> list[Step]:
        job = self.config[name]
        parent = self.config.get(job.get("extends"), {})
        variables = self.config["variables"] | job.get("variables", {})
        lines = [*parent.get("before_script", []), *job["script"]]
        # A shell keeps what one line sets for the next, so a job is one script.
        return [Step(name, "\n".join(lines), variables)]

    def clone(self, folder: Path) -> Path:
        run("git", "clone", "--quiet", self.service, folder, cwd=self.service)
        return folder


def execute(step: Step, folder: Path, **variables: str) -> str:
    """Run a step in bash as both providers do: the first command that fails ends it."""
    programs = os.pathsep.join([str(Path(shutil.which(UV) or UV).parent), os.defpath])
    place = folder.parent
    environment = {
        "GITHUB_STEP_SUMMARY": str(place / f"{folder.name}-summary.md"),
        "RUNNER_TEMP": str(place / f"{folder.name}-temp"),
        "CI_PROJECT_DIR": str(folder),
    }
    Path(environment["RUNNER_TEMP"]).mkdir(exist_ok=True)
    return run(
        *["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.script],
        cwd=folder,
        **{**environment, **step.variables, **variables},
    )
