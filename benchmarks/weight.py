"""Weight: the start and the memory of a service, the size of its image, and the CPU of a copy.

``nox -s bench`` runs it beside an installed service with the default answers. The starts and the
copies are measured in turns, so that a noisy machine disturbs all alike.
"""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from copy_times import ROOT, copied, empty_template
from support.servers import free_port, production, started

ROUNDS = 7
BASE_IMAGE = "python:3.13-slim"
PLAIN = ROOT / "benchmarks/plain"
SERVERS = ("daphne", "uvicorn", "gunicorn")


def cpu(run: Callable[[], object]) -> float:
    """Return the CPU seconds of the programs that this runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turns(programs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median CPU seconds of each. The first round, which fills caches, does not count."""
    rounds = [{name: cpu(run) for name, run in programs.items()} for _ in range(ROUNDS + 1)]
    return {name: statistics.median(times[name] for times in rounds[1:]) for name in programs}


def check(python: Path, folder: Path, **variables: str) -> Callable[[], object]:
    environment = os.environ | variables | {"PYTHONDONTWRITEBYTECODE": ""}
    return lambda: subprocess.run(
        [python, "manage.py", "check"], cwd=folder, env=environment, check=True, capture_output=True
    )


def idle_memory(service: Path, server: str) -> tuple[float, float]:
    """Return the MiB of the process that answers: resident, and of those not backed by a file."""
    listen = {"BIND": "127.0.0.1", "PORT": str(free_port()), "SERVER": server}
    variables = production("postgres://127.0.0.1/none") | {"WEB_CONCURRENCY": "1"} | listen
    health = f"http://127.0.0.1:{listen['PORT']}/api/v1/health/"
    with started(service / "start_server.sh", cwd=service, **variables) as process:
        for _attempt in range(300):
            try:
                for _request in range(20):
                    urllib.request.urlopen(health, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            sys.exit((service / "program.log").read_text())
        # Only gunicorn has a child: the worker.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{(children or [process.pid])[0]}/status").read_text()
    resident, anonymous = (
        int(re.findall(rf"^{name}:\s+(\d+)", status, flags=re.MULTILINE)[0]) / 1024
        for name in ("VmRSS", "RssAnon")
    )
    return resident, anonymous


def image_size(service: Path) -> int:
    """Build the production image, and return its MB on top of the base image."""

    def docker(*command: str) -> str:
        return subprocess.run(
            ["docker", *command], cwd=service, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    image = docker("build", "--quiet", ".")
    whole, base = (
        int(docker("image", "inspect", "--format={{.Size}}", name)) for name in (image, BASE_IMAGE)
    )
    return round((whole - base) / 1e6)


def report(title: str, figures: dict[str, float]) -> None:
    print(title)
    floor = next(iter(figures.values()))
    for name, value in figures.items():
        print(f"  {name:<28} {value:6.2f}  {value / floor:5.2f}x")


def main() -> None:
    service = Path(sys.argv[1])
    python = service / ".venv/bin/python"
    starts = {
        "the plain project": check(
            python, PLAIN, DJANGO_SECRET_KEY="-" * 50, DATABASE_URL="postgres:///none"
        ),
        "the service": check(python, service),
    }
    report("manage.py check, CPU seconds", in_turns(starts))

    print("An idle web process after 20 requests of health/, MiB")
    for server in SERVERS:
        resident, anonymous = idle_memory(service, server)
        print(f"  {server:<28} {resident:6.1f}, {anonymous:.1f} of them not backed by a file")

    if shutil.which("docker"):
        print(f"The image on top of {BASE_IMAGE}: {image_size(service)} MB")

    with tempfile.TemporaryDirectory(prefix="weight-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        template = ROOT / "template"
        files = [path.relative_to(template) for path in template.rglob("*") if path.is_file()]
        # Jinja would render the name of the answers file in a template without questions.
        files = [path for path in files if "{{" not in str(path)]
        templates = {
            "one empty file": empty_template(folder / "one", [Path("README.md")]),
            f"{len(files)} empty files": empty_template(folder / "many", files),
            "this template": ROOT,
        }

        def copy(template: Path) -> Callable[[], object]:
            return lambda: copied(template, Path(tempfile.mkdtemp(dir=folder)))

        copies = {label: copy(template) for label, template in templates.items()}
        report("copier copy, CPU seconds", in_turns(copies))


if __name__ == "__main__":
    main()
