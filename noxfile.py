"""Every job of this repository. ``uvx nox --list`` names them."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]

ROOT = Path(__file__).parent
TEMPLATE = ROOT / "template"
EVERY_OPTION_OFF = [
    "--data=database=sqlite",
    "--data=use_channels=no",
    "--data=use_event_sync=no",
    "--data=use_docker=no",
]
PYTHON = (ROOT / ".python-version").read_text().strip()


def install(session: nox.Session) -> None:
    session.install("--require-hashes", "--requirement", "requirements.txt")


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check this repository's own Python; the template's is checked by the tests."""
    install(session)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    # shellcheck, where it is installed, reads the scripts within the workflows.
    session.run("actionlint")
    session.run("zizmor", "--offline", "--quiet", "--persona=auditor", ".github")
    session.run("check-jsonschema", "--builtin-schema=vendor.dependabot", ".github/dependabot.yml")


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Test the template: its questions, and every variant of the service with its own tests."""
    install(session)
    # A variant's tests share one project, so they stay in one worker.
    session.run("pytest", "--numprocesses=auto", "--dist=loadgroup", *session.posargs)


@nox.session(python=PYTHON)
def soak(session: nox.Session) -> None:
    """Kill the processes that send 10,000 events, and count what arrives: on PostgreSQL, printed."""
    install(session)
    session.run(
        *["pytest", "-s", "tests/test_events.py", "-k", "random_kills and postgres"],
        *session.posargs,
        env={"EVENTS": "10000"},
    )


@nox.session(python=PYTHON)
def mutants(session: nox.Session) -> None:
    """Count the mutants of the service that its tests kill: -- [--minutes 60] [apps/user ...]"""
    install(session)
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as name:
        service = Path(name, "service")
        copy_template(session, service, "--data=database=sqlite")
        python = set_up(session, service)
        session.run("uv", "pip", "install", "--quiet", f"--python={python}", "mutmut==3.8.1")
        session.run("python", "scripts/mutants.py", str(service), *session.posargs)


@nox.session(python=PYTHON)
def matrix(session: nox.Session) -> None:
    """Print the variants, for the jobs of CI that test one each."""
    install(session)
    session.run("python", "scripts/matrix.py", env={"PYTHONPATH": "tests"})


@nox.session(python=PYTHON)
def newest(session: nox.Session) -> None:
    """Test services on the newest packages, made by the newest Copier, whatever the pins say."""
    install(session)
    session.install("--upgrade", "copier")
    with tempfile.TemporaryDirectory(prefix="newest-", ignore_cleanup_errors=True) as folder:
        for name, answers in {"everything": [], "nothing": EVERY_OPTION_OFF}.items():
            service = Path(folder, name)
            copy_template(session, service, *answers)
            pyproject = service / "pyproject.toml"
            pyproject.write_text(re.sub(r"==(?=\d)", ">=", pyproject.read_text()))
            # Its own environment, not the session's.
            own = {"UV_PROJECT_ENVIRONMENT": ".venv", "VIRTUAL_ENV": ""}
            with session.chdir(service):
                session.run("uv", "sync", "--quiet", "--upgrade", env=own)
                for command in ["manage.py makemigrations --check", "mypy", "pytest"]:
                    session.run("uv", "run", *command.split(), env=own)


@nox.session(python=PYTHON)
def docker(session: nox.Session) -> None:
    """Build the images of every service that has some, and drive their containers."""
    if not (
        shutil.which("docker")
        and succeeds("docker", "info")
        and succeeds("docker", "compose", "version")
    ):
        session.error("These tests need a Docker engine that runs, and Compose 2.24 or newer.")
    install(session)
    session.run("pytest", "-m", "docker", *session.posargs)


def succeeds(*command: str) -> bool:
    return not subprocess.run(command, capture_output=True, check=False).returncode


# Locks


@nox.session(python=PYTHON)
def lock(session: nox.Session) -> None:
    """Lock the newest packages that fit the pins, for this repository and for every variant."""
    session.run(
        *["uv", "pip", "compile", "--quiet", "pyproject.toml", "--group", "dev", "--upgrade"],
        *["--output-file", "requirements.txt"],
    )
    install(session)
    session.run("python", "scripts/lock.py")


def copy_template(session: nox.Session, folder: Path, *arguments: str) -> None:
    """Make a project with the default answers from the working tree, committed or not."""
    session.run(
        *["copier", "copy", "--defaults", "--quiet", "--vcs-ref=HEAD"],
        *[*arguments, str(ROOT), str(folder)],
        # A working tree with changes is what a developer tries.
        env={"PYTHONWARNINGS": "ignore"},
    )


@nox.session(python=PYTHON)
def messages(session: nox.Session) -> None:
    """Collect new messages into the template's catalogues, in the order of a service's own."""
    install(session)
    with tempfile.TemporaryDirectory() as name:
        service = Path(name, "service")
        copy_template(session, service)
        python = set_up(session, service)
        session.run("python", "scripts/messages.py", str(service), str(python))


@nox.session(python=PYTHON)
def docs(session: nox.Session) -> None:
    """Make the documentation's site in docs/_build; a link that leads nowhere fails."""
    install(session)
    session.run(
        *["sphinx-build", "--fail-on-warning", "--nitpicky", "--fresh-env", "--quiet"],
        *["docs", "docs/_build"],
    )


# Releases


@nox.session(python=PYTHON)
def release(session: nox.Session) -> None:
    """Check and record a version, and say what to push: nox -s release -- 1.2.0"""
    if len(session.posargs) != 1:
        session.error("Name the version: nox -s release -- 1.2.0")
    install(session)
    session.run("python", "scripts/releases.py", "check", *session.posargs)
    lint(session)
    session.run("pytest", "--numprocesses=auto", "--dist=loadgroup")
    session.run("python", "scripts/releases.py", "record", *session.posargs)


@nox.session(python=PYTHON)
def audit(session: nox.Session) -> None:
    """Ask the package index for advisories about every locked version, in every variant."""
    session.install("pip-audit==2.10.1")
    with tempfile.TemporaryDirectory() as name:
        lock = everything_locked(Path(name, "requirements.txt"))
        report = session.run(
            *["pip-audit", "--disable-pip", "--require-hashes", "--format=json"],
            *["--requirement", str(lock)],
            silent=True,
            stderr=subprocess.DEVNULL,
            # 1 stands for advisories; and for no answer, which is no report either.
            success_codes=[0, 1],
        )
    if faults := audit_faults(str(report)):
        session.error("\n".join(faults))
    session.log("Every locked version was looked up; the index has no advisory about any.")


def everything_locked(file: Path) -> Path:
    """The lock of development with every option on, and this repository's own."""
    template = (TEMPLATE / "requirements-dev.txt.jinja").read_text()
    entries = re.sub(r"^{[%#].*[%#]}\n", "", template, flags=re.MULTILINE)
    ours = (ROOT / "requirements.txt").read_text()
    names = set(re.findall(r"^[\w.-]+", entries, flags=re.MULTILINE))
    more = [
        entry
        for entry in re.split(r"^(?=\w)", ours, flags=re.MULTILINE)
        if entry.partition("==")[0] not in names
    ]
    file.write_text(entries + "".join(more))
    return file


def audit_faults(report: str) -> list[str]:
    """What pip-audit found, and what it could not look up: by itself it passes over that."""
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError:
        return ["The advisories could not be reached, so nothing is known about any package."]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    faults = [
        f"{package['name']} {package['version']}: {advisory['id']},"
        f" mended in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in packages
        for advisory in package.get("vulns", [])
    ]
    if unknown:
        faults.append(
            f"{len(unknown)} of {len(packages)} packages could not be looked up, so nothing is known"
            f" about them: the package index in use gives no advisories. {', '.join(unknown)}"
        )
    return faults


# Benchmarks


@nox.session(python=PYTHON)
def bench(session: nox.Session) -> None:
    """Measure what a copy costs, and what the service's own calls cost, in ratios of one run."""
    install(session)
    if session.run("git", "status", "--porcelain", silent=True, external=True):
        session.warn("Uncommitted changes make each copy slower: Copier commits them to a clone.")
    session.run("python", "benchmarks/copy_times.py")
    session.run("python", "benchmarks/update_times.py")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "service")
        copy_template(session, folder)
        python = set_up(session, folder)
        for program in ("me.py", "events.py", "sqs_stub.py"):
            shutil.copy(ROOT / "benchmarks" / program, folder)
        with session.chdir(folder):
            session.run(str(python), "me.py", external=True)
            session.run(str(python), "events.py", external=True)
        session.run("python", "benchmarks/http_servers.py", str(folder))
        session.run("python", "benchmarks/websocket_servers.py", str(folder))


@nox.session(python=PYTHON)
def autobahn(session: nox.Session) -> None:
    """Fuzz the service's WebSockets: ``nox -s autobahn -- PYTHON2.7``; the suite needs that one."""
    install(session)
    (old_python,) = session.posargs or ["python2.7"]
    folder = ROOT / ".tools/autobahn"
    packages = {"PYTHONUSERBASE": str(folder / "packages")}
    session.run(
        *[old_python, "-m", "pip", "install", "--quiet", "--user", "--ignore-installed"],
        *["--no-warn-script-location", "autobahntestsuite==25.10.1"],
        env=packages,
        external=True,
    )
    with tempfile.TemporaryDirectory() as name:
        service = Path(name, "service")
        copy_template(session, service)
        set_up(session, service)
        report = folder / "report"
        session.run(
            "python", "tests/autobahn.py", old_python, str(service), str(report), env=packages
        )


# Demo

HOST = "127.0.0.1"

# The user that the demo logs in with; a password is drawn at each start.
CREATE_USER = """
from django.utils import timezone
from apps.user.models import User

user = User.objects.filter(email="{email}").first() or User(email="{email}")
user.first_name, user.last_name = "Demo", "User"
user.is_staff = user.is_superuser = True
user.email_confirmed_at = timezone.now()
user.set_password("{password}")
user.save()
"""

READY = """
{name} answers at {base}

  API documentation  {base}/api/docs/
  Admin              {base}/admin/   ({email}, password {password})
  Health             {base}/api/v1/health/

Log in:

  curl -X POST {base}/api/v1/auth/login/ -H 'Content-Type: application/json' \\
    -d '{{"email": "{email}", "password": "{password}"}}'

The server goes on after this command; its log is {log}.
Stop it: kill {pid}
"""


@nox.session(python=PYTHON)
def demo(session: nox.Session) -> None:
    """Make a service with the default answers (./my-service, or the folder given) and start it."""
    folder = (ROOT / Path(*session.posargs or ["my-service"])).resolve()
    if not folder.exists():
        if not shutil.which("git"):
            session.error("Git is missing, and Copier needs it: install it and try again.")
        install(session)
        copy_template(session, folder)
    elif (folder / ".copier-answers.yml").exists() and (folder / "manage.py").exists():
        session.log(f"{folder} exists already and is used as it is.")
    else:
        session.error(f"{folder} is not a service of this template: nox -s demo -- OTHER_FOLDER")

    user = {"email": "demo@example.com", "password": secrets.token_urlsafe(12)}
    manage = [str(set_up(session, folder)), "manage.py"]
    with session.chdir(folder):
        session.run(*manage, "migrate", "--verbosity=0", external=True)
        code = CREATE_USER.format(**user)
        session.run(*manage, "shell", "--verbosity=0", "-c", code, external=True, log=False)

    log = folder / "demo.log"
    base = f"http://{HOST}:{free_port(8000)}"
    command = [*manage, "runserver", "--noreload", base.removeprefix("http://")]
    # The links in its e-mails lead to the port that was free.
    server = serve(command, log, URL_BASE=base)
    if not comes_up(server, f"{base}/api/v1/health/"):
        server.terminate()
        session.error(f"The service does not answer; {log} ends with:\n{log.read_text()[-2000:]}")
    print(READY.format(name=folder.name, base=base, log=log, pid=server.pid, **user))


def set_up(session: nox.Session, folder: Path) -> Path:
    """Install a service from its lock into its own environment: the path of its Python."""
    venv = folder / ".venv"
    python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    with session.chdir(folder):
        if not python.exists():
            session.run("uv", "venv", "--quiet", str(venv))
        session.run(
            *["uv", "pip", "install", "--quiet", "--python", str(python)],
            *["--require-hashes", "--requirement", "requirements-dev.txt"],
        )
    return python


def serve(command: list[str], log: Path, **variables: str) -> "subprocess.Popen[bytes]":
    """Start a server that outlives this program."""
    with log.open("w") as output:
        return subprocess.Popen(
            command,
            cwd=log.parent,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def free_port(first: int) -> int:
    """The first port from this one on that nobody listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)):
                return port
    raise SystemExit(f"No port is free between {first} and {first + 99}.")


def comes_up(server: "subprocess.Popen[bytes]", url: str, seconds: int = 60) -> bool:
    """Wait until the server says 200, or ends, or the time is over."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            time.sleep(0.2)
    return False
