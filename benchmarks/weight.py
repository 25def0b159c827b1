"""Weight: the start and the memory of a service, and the size of its image.

``nox -s bench`` runs it beside a generated service with the default answers, and writes what it
measured to ``docs/performance.md``. As in production, only the packages of ``requirements.txt`` are
installed. What is compared is measured in turns, so that a noisy machine disturbs all alike.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from copy_times import UV, children_cpu
from support.servers import production
from web import HEALTH, PLAIN, PLAIN_COMMANDS, ROOT, SERVICE, processes, running, write_section
from websocket_servers import HOST

ROUNDS = 7
BASE_IMAGE = "python:3.13-slim"


def cpu(run: Callable[[], object]) -> float:
    """Return the CPU seconds of the programs that this runs."""
    before = children_cpu()
    run()
    return children_cpu() - before


def in_turns(programs: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median CPU seconds of each. The first round, which fills caches, does not count."""
    rounds = [{name: cpu(run) for name, run in programs.items()} for _ in range(ROUNDS + 1)]
    return {name: statistics.median(times[name] for times in rounds[1:]) for name in programs}


def check(folder: Path, variables: dict[str, str]) -> Callable[[], object]:
    return lambda: subprocess.run(
        ["python", "manage.py", "check"],
        cwd=folder,
        env=os.environ | variables,
        check=True,
        capture_output=True,
    )


def idle_memory(folder: Path, command: str, variables: dict[str, str]) -> str:
    """Return two columns: the resident MiB of the process that responds, and those without a file."""
    with running(folder, command, variables) as (port, pid):
        for _request in range(20):
            urllib.request.urlopen(f"http://{HOST}:{port}{HEALTH}", timeout=5).close()
        # Only gunicorn has a child: the worker.
        status = Path(f"/proc/{processes(pid)[-1]}/status").read_text()
    resident, anonymous = (
        int(re.findall(rf"^{name}:\s+(\d+)", status, flags=re.MULTILINE)[0]) / 1024
        for name in ("VmRSS", "RssAnon")
    )
    return f"{resident:.0f} | {anonymous:.0f}"


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


def start_and_memory(service: Path, plain: Path) -> list[str]:
    programs = service / ".venv/bin"
    ours = production("postgres:///none") | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "",
        "WEB_CONCURRENCY": "1",
    }
    theirs = ours | {"DJANGO_SETTINGS_MODULE": "plain.settings"}
    starts = in_turns({PLAIN: check(plain, theirs), SERVICE: check(service, ours)})
    memory = [
        f"| {name}, {server} | {idle_memory(folder, command, variables)} |"
        for server, plain_command in PLAIN_COMMANDS.items()
        for name, folder, command, variables in (
            (SERVICE, service, "./start_server.sh", ours | {"SERVER": server}),
            (PLAIN, plain, plain_command, theirs),
        )
    ]
    return [
        "| `manage.py check` | CPU seconds | of the plain project's |",
        "|---|---|---|",
        *(
            f"| {name} | {value:.2f} | {value / starts[PLAIN]:.2f} |"
            for name, value in starts.items()
        ),
        "",
        "| An idle web process | resident MiB | not backed by a file |",
        "|---|---|---|",
        *memory,
        "",
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="weight-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        without = shutil.ignore_patterns(".venv", ".postgres", ".env")
        service = shutil.copytree(sys.argv[1], folder / "service", ignore=without)
        plain = shutil.copytree(ROOT / "benchmarks/plain", folder / "plain")
        python = str(service / ".venv/bin/python")
        for command in (
            ["venv", "--quiet", str(service / ".venv")],
            [
                "pip",
                "sync",
                "--quiet",
                "--compile-bytecode",
                "--python",
                python,
                "requirements.txt",
            ],
        ):
            subprocess.run([UV, *command], cwd=service, check=True)
        lines = start_and_memory(service, plain)
        if shutil.which("docker"):
            lines.append(f"The image: {image_size(service)} MB on top of `{BASE_IMAGE}`.")
    write_section("weight", "\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
