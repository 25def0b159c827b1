"""The locks agree with pyproject.toml, with each way to install, and with the refused slugs."""

import re
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import Failed
from jinja2 import Environment, FileSystemLoader
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pytest_copier.plugin import CopierFixture
from support import ROOT, TEMPLATE, UV, VARIANTS, copy, name_of, programs, run
from support.locks import LOCKS, Pins, freeze, here, locked, requirements


def pinned(requirements: list[str]) -> Pins:
    """Return the versions that pyproject.toml pins. Each must be an exact version."""
    pins: Pins = {}
    for requirement in map(Requirement, requirements):
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
        pins[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return pins


@pytest.fixture(scope="module", params=VARIANTS, ids=name_of)
def service(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("service")
    return copy(template, folder, only=["pyproject.toml", *LOCKS], **request.param)


@pytest.fixture
def pyproject(service: Path) -> dict[str, Any]:
    return tomllib.loads((service / "pyproject.toml").read_text())


def test_a_lock_contains_the_pins_of_pyproject(service: Path, pyproject: dict[str, Any]) -> None:
    runtime = pinned(pyproject["project"]["dependencies"])
    groups = pyproject["dependency-groups"]
    dev, observability = pinned(groups["dev"]), pinned(groups["observability"])
    assert runtime.items() <= locked(service / "requirements.txt").items()
    assert observability.items() <= locked(service / "requirements-observability.txt").items()
    everything = runtime | dev | observability
    assert everything.items() <= locked(service / "requirements-dev.txt").items()


def test_the_locks_of_a_service_agree(service: Path) -> None:
    for name in LOCKS:
        assert locked(service / name).items() <= locked(service / "requirements-dev.txt").items()


def test_uv_is_constrained_to_the_locked_versions(service: Path, pyproject: dict[str, Any]) -> None:
    """The pins and the constraints together are exactly the versions in requirements-dev.txt."""
    groups = pyproject["dependency-groups"]
    pins = pyproject["project"]["dependencies"] + groups["dev"] + groups["observability"]
    constraints = list(map(Requirement, pyproject["tool"]["uv"]["constraint-dependencies"]))
    direct = {canonicalize_name(Requirement(pin).name) for pin in pins}
    expected = [
        line for line in requirements(service / "requirements-dev.txt") if line.name not in direct
    ]
    assert constraints == expected


def test_the_lock_for_production_has_no_packages_for_development(
    service: Path, pyproject: dict[str, Any]
) -> None:
    groups = pyproject["dependency-groups"]
    others = pinned(groups["dev"] + groups["observability"])
    assert not others.keys() & locked(service / "requirements.txt").keys()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_hashes_and_names_no_package_index(service: Path, name: str) -> None:
    text = (service / name).read_text()
    for entry in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        assert re.fullmatch(
            r"[\w.-]+==\S+( ; .+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", entry
        ), entry
    assert "://" not in text
    assert "--index-url" not in text


# One worker, so that the service is installed once.
together = pytest.mark.xdist_group("locks")


@pytest.fixture(scope="module")
def installed(copier: CopierFixture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service with the default answers that uv has installed."""
    folder = copier.copy(tmp_path_factory.mktemp("installed") / "service").path
    run(UV, "run", "python", "--version", cwd=folder)
    return folder


@together
def test_uv_and_pip_install_the_same_versions(installed: Path, tmp_path: Path) -> None:
    """``uv run`` without a lock of its own, ``uv sync``, and pip with a lock.

    The service also starts if pip has only installed the packages for production.
    """
    by_uv_run = freeze(installed)
    run(UV, "sync", "--locked", cwd=installed)
    assert freeze(installed) == by_uv_run

    run(UV, "venv", "--quiet", "--seed", tmp_path / ".venv", cwd=installed)
    seeded = freeze(tmp_path)
    python = programs(tmp_path) / "python"
    pip = f"{python} -m pip install --quiet --requirement"
    run(*pip.split(), "requirements.txt", cwd=installed)
    locked = here(installed / "requirements.txt")
    assert freeze(tmp_path) - seeded == {f"{line.name}{line.specifier}" for line in locked}
    run(python, "manage.py", "migrate", cwd=installed)

    run(*pip.split(), "requirements-dev.txt", cwd=installed)
    assert freeze(tmp_path) - seeded == by_uv_run


@pytest.mark.parametrize(
    ("file", "lock"),
    [
        ("Dockerfile.jinja", "requirements.txt"),
        ("Dockerfile.local", "requirements-dev.txt"),
        (".github/workflows/ci.yml.jinja", "requirements-dev.txt"),
        (".gitlab-ci.yml.jinja", "requirements-dev.txt"),
    ],
)
def test_images_and_pipelines_install_a_lock_with_its_hashes(file: str, lock: str) -> None:
    text = (TEMPLATE / file).read_text()
    installed = set(re.findall(r"\binstall (--require-hashes) --requirement (\S+)", text))
    assert installed == {("--require-hashes", lock)}
    assert "uv sync" not in text
    # Without the project: uv would lock it again.
    runs = set(re.findall(r"uv run (.+)", text))
    assert all(
        command.startswith("--no-project --with-requirements requirements.txt ")
        or "# /// script" in (TEMPLATE / f"{command}.jinja").read_text()
        for command in runs
    )


@together
def test_one_command_adds_a_package_and_another_removes_it(installed: Path) -> None:
    def files() -> dict[str, str]:
        return {name: (installed / name).read_text() for name in ["pyproject.toml", *LOCKS]}

    before = files()
    run(UV, "run", "lock.py", cwd=installed)
    assert files() == before, "other locked versions have changed"

    run(UV, "run", "lock.py", "add", "python-slugify", cwd=installed)
    pyproject = tomllib.loads((installed / "pyproject.toml").read_text())
    assert "python-slugify" in pinned(pyproject["project"]["dependencies"])
    assert "text-unidecode" in pinned(pyproject["tool"]["uv"]["constraint-dependencies"])
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert {"python-slugify", "text-unidecode"} <= locked(installed / name).keys()
        assert set(before[name].splitlines()) < set(files()[name].splitlines())
    run(UV, "run", "python", "-c", "import slugify", cwd=installed)

    run(UV, "run", "lock.py", "remove", "python-slugify", cwd=installed)
    assert files() == before


@together
def test_a_lock_that_fails_changes_nothing(installed: Path) -> None:
    before = (installed / "pyproject.toml").read_text()
    with pytest.raises(Failed, match="No solution found"):
        run(UV, "run", "lock.py", "add", "asgiref<3", cwd=installed)
    assert (installed / "pyproject.toml").read_text() == before


@pytest.mark.parametrize("name", LOCKS)
def test_every_variant_has_the_same_versions(template: Path, tmp_path: Path, name: str) -> None:
    variants = [
        locked(copy(template, tmp_path / name_of(answers), only=[name], **answers) / name)
        for answers in VARIANTS
    ]
    for one, another in combinations(variants, 2):
        assert all(one[package] == another[package] for package in one.keys() & another.keys())


def test_the_lock_of_this_repository_contains_the_pins_of_its_pyproject() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    dev = pinned(pyproject["dependency-groups"]["dev"])
    assert dev.items() <= locked(ROOT / "requirements.txt").items()


def test_the_questions_refuse_the_names_of_all_locked_packages() -> None:
    environment = Environment(loader=FileSystemLoader(ROOT), autoescape=False)  # noqa: S701
    refused: Any = environment.get_template("extensions/packages.jinja").module
    locks = [(TEMPLATE / f"{name}.jinja").read_text() for name in LOCKS]
    packages = re.findall(r"^([\w.-]+)==", "".join(locks), flags=re.MULTILINE)
    assert set(refused.PACKAGES) == {re.sub(r"[-_.]+", "-", name) for name in packages}
