"""Mutation tests of the service: ``nox -s mutants``. See docs/release.md.

mutmut changes one expression of one function at a time. mypy must refuse the change, or a test that
calls this function must fail. mutants.toml lists what mutmut cannot find: settings to break, each of
which some test must notice; and the mutants that may survive, with the reason.
"""

import argparse
import os
import re
import signal
import subprocess
import tomllib
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

PACKAGES = ["apps/user", "apps/communication", "apps/event_sync"]
PACKAGES += ["apps/api/websocket", "common/drf", "common/sqs", "common"]
SURVIVED = {"survived", "no tests"}
STATUSES = {
    "killed": "tests",
    "caught by type check": "types",
    "not checked": "not run",
}
SHARE = 90

CONFIGURATION = """
[mutmut]
source_paths=
    api_core
    apps
    common
only_mutate=
    {only_mutate}
do_not_mutate=
    */tests/*
    */migrations/*
process_isolation=forkserver
type_check_command=
    {python}
    {types}
    mypy
timeout_constant=2
timeout_multiplier=10
also_copy=
    conftest.py
    gunicorn.conf.py
    locale
    manage.py
    migrated.sqlite3
    start_server.sh
    .env
    .env.example
pytest_add_cli_args=
    -n0
    --no-cov
    -p
    no:cacheprovider
    --ignore=apps/user/tests/test_rates.py
    --ignore=apps/api/tests/test_schema.py
    --ignore=apps/api/tests/test_asgi.py
pytest_add_cli_args_test_selection=
    {tests}
"""
# The first two files of ignored tests are slow: one is for settings only, and schemathesis prepares
# its calls each time. The third needs threads that start at import, which a forked process lacks.

# mutmut imports the tests once and forks a process for each mutant, which runs pytest. What these
# processes would all repeat is done before: the migrations, the first import of the URLs, and the
# search for garbage among the imported modules.
CONFTEST = """
import gc
import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None) -> Iterator[None]:
    database = Path(f"test-{os.getpid()}.sqlite3").absolute()
    shutil.copy("migrated.sqlite3", database)
    connection.settings_dict["NAME"] = database
    yield
    connection.close()
    database.unlink()


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        importlib.import_module("api_core.urls")
        gc.collect()
        gc.freeze()
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="stop mutmut after this time")
    parser.add_argument("--children", type=int, default=2, help="mutants tested at a time")
    parser.add_argument("--tests", action="append", help="tests to run, instead of all")
    parser.add_argument("packages", nargs="*", default=PACKAGES, help="all of them by default")
    arguments = parser.parse_intermixed_args()
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    faults = unnoticed_settings(arguments.service, listed["setting"])
    run_mutmut(arguments)
    faults += survivors(arguments.service, arguments.packages, listed["survivor"])
    if faults:
        raise SystemExit("\n\n".join(faults))


# Settings


def unnoticed_settings(service: Path, settings: list[dict[str, str]]) -> list[str]:
    """Break one setting at a time, and return those that no test notices."""
    if settings and not passes(service, *sorted({setting["test"] for setting in settings})):
        raise SystemExit("The tests of the settings fail before anything is changed.")
    faults = []
    for setting in settings:
        file = service / setting["file"]
        text = file.read_text()
        if text.count(setting["old"]) != 1:
            raise SystemExit(f"{setting['file']} must contain once: {setting['old']}")
        file.write_text(text.replace(setting["old"], setting["new"]))
        if passes(service, setting["test"]):
            faults.append(f"{setting['file']}: {setting['old']} -> {setting['new']} survived")
            print(faults[-1], flush=True)
        file.write_text(text)
    print(f"Settings: {len(settings) - len(faults)} of {len(settings)} killed", flush=True)
    return faults


def passes(service: Path, *tests: str) -> bool:
    command = [".venv/bin/python", "-m", "pytest", "-qx", "-n0", "--no-cov", *tests]
    ran = subprocess.run(command, cwd=service, check=False, capture_output=True, timeout=600)
    return ran.returncode == 0


# Functions


def run_mutmut(arguments: argparse.Namespace) -> None:
    """Test as many mutants as the time allows, those with the fastest tests first."""
    service: Path = arguments.service
    files = [name if name.endswith(".py") else f"{name}/*" for name in arguments.packages]
    configuration = CONFIGURATION.format(
        only_mutate="\n    ".join(files),
        python=(service / ".venv/bin/python").absolute(),
        types=Path(__file__).with_name("mutant_types.py").absolute(),
        tests="\n    ".join(arguments.tests or ["apps"]),
    )
    (service / "setup.cfg").write_text(configuration)
    (service / "apps/conftest.py").write_text(CONFTEST)
    migrate = [".venv/bin/python", "manage.py", "migrate", "--settings=api_core.settings.test"]
    database = {"DATABASE_URL": "sqlite:///migrated.sqlite3"}
    subprocess.run(
        migrate, cwd=service, check=True, stdout=subprocess.DEVNULL, env=os.environ | database
    )
    command = [".venv/bin/mutmut", "run", f"--max-children={arguments.children}"]
    with (service / "mutmut.log").open("w") as log:
        mutmut = subprocess.Popen(
            command, cwd=service, stdout=log, stderr=log, start_new_session=True
        )
        try:
            status = mutmut.wait(arguments.minutes * 60)
        except subprocess.TimeoutExpired:
            status = 0
        finally:
            # It saves each result at once. Its children may still run.
            with suppress(ProcessLookupError):
                os.killpg(mutmut.pid, signal.SIGKILL)
            mutmut.wait()
    if status:
        raise SystemExit((service / "mutmut.log").read_text()[-5000:])


def survivors(service: Path, packages: list[str], listed: list[dict[str, str]]) -> list[str]:
    """Print how many mutants of each package mypy or a test killed, and return what is wrong.

    Mutants that were not run, and those with an unclear result, such as a time-out, do not count.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    faults = []
    lines = mutmut_output(service, "results", "--all", "true").splitlines()
    for name, status in (line.strip().rsplit(": ", 1) for line in lines if ": " in line):
        package = package_of(name, packages)
        if status in SURVIVED:
            difference = mutmut_output(service, "show", name)
            accepted = any(is_mutant(entry, name, difference) for entry in listed)
            counts[package]["listed" if accepted else "survived"] += 1
            if not accepted:
                faults.append(difference)
        else:
            counts[package][STATUSES.get(status, "unclear")] += 1
    columns = ["tests", "types", "listed", "survived", "unclear", "not run"]
    print(f"{'':20}{''.join(f'{name:>10}' for name in columns)}{'share':>10}")
    for package, count in counts.items():
        killed = count["tests"] + count["types"]
        tested = killed + count["listed"] + count["survived"]
        share = 100 * killed / tested if tested else 0
        print(f"{package:20}{''.join(f'{count[name]:10}' for name in columns)}{share:9.1f}%")
        if share < SHARE:
            faults.append(f"{package}: fewer than {SHARE} % of the mutants were killed.")
    return faults


def mutmut_output(service: Path, *arguments: str) -> str:
    command = [".venv/bin/mutmut", *arguments]
    return subprocess.run(command, cwd=service, check=True, capture_output=True, text=True).stdout


def package_of(mutant: str, packages: list[str]) -> str:
    modules = {name.removesuffix(".py").replace("/", "."): name for name in packages}
    return next(name for module, name in modules.items() if mutant.startswith(f"{module}."))


def is_mutant(entry: dict[str, str], name: str, difference: str) -> bool:
    """Whether an entry of the list is about a mutant: its module, and a line of the difference."""
    changed = "\n".join(re.findall(r"^[-+](?![-+]).*$", difference, flags=re.MULTILINE))
    return name.startswith(entry["module"]) and bool(
        re.search(entry["line"], changed, flags=re.MULTILINE)
    )


if __name__ == "__main__":
    main()
