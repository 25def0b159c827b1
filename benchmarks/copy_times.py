"""What a copy costs: beside an empty template, and up to the service's own green tests.

Run by ``nox -s bench``. The two templates are copied in turns, so that a noisy machine disturbs
both alike.
"""

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = os.environ.get("UV", "uv")
ROUNDS = 7

OPTIONS = ("use_channels", "use_event_sync", "use_docker")
SERVICES: dict[str, list[str]] = {
    "every option off": [f"--data={option}=no" for option in OPTIONS],
    "the default answers": [],
}


def seconds(*command: str | Path, cwd: Path, **variables: str) -> float:
    """Seconds that a program takes. If it fails, end with its output."""
    start = time.perf_counter()
    # Without byte code, every start would compile every package again.
    environment = {**os.environ, **variables, "PYTHONDONTWRITEBYTECODE": ""}
    ran = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"{ran.stdout}\n{ran.args} ended with {ran.returncode}")
    return time.perf_counter() - start


def children_cpu() -> float:
    """Return the CPU seconds of all programs that have ended, which a busy machine changes least."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def copied(template: Path, folder: Path, *answers: str) -> float:
    """Return the CPU seconds of a copy."""
    copier = Path(sys.executable).with_name("copier")
    options = ["--defaults", "--quiet", "--vcs-ref", "HEAD", *answers]
    before = children_cpu()
    seconds(copier, "copy", *options, template, folder, cwd=ROOT)
    return children_cpu() - before


def empty_template(folder: Path, files: list[Path]) -> Path:
    """A template without questions, in Git as ours is, whose files are empty."""
    for file in files:
        path = folder / "template" / file.with_name(file.name.removesuffix(".jinja"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "copier.yml").write_text("_subdirectory: template\n")
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-qm", "Empty"]):
        seconds(*git, *command, cwd=folder)
    return folder


def green(folder: Path, cache: Path, *answers: str) -> float:
    """Seconds from nothing to a service whose tests have passed."""
    start = time.perf_counter()
    copied(ROOT, folder, *answers)
    seconds(UV, "run", "pytest", "-q", cwd=folder, UV_CACHE_DIR=str(cache))
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        files = [path for path in (ROOT / "template").rglob("*") if path.is_file()]
        templates = {
            "one empty file": empty_template(folder / "one", [Path("README.md")]),
            f"{len(files)} empty files": empty_template(
                folder / "many", [path.relative_to(ROOT / "template") for path in files]
            ),
            "this template": ROOT,
        }
        times: dict[str, list[float]] = {label: [] for label in templates}
        for number in range(ROUNDS):
            for label, template in templates.items():
                times[label].append(copied(template, folder / f"{label}-{number}"))
        services = {
            f"{kind}, {cache} package cache": green(
                folder / f"{number}-{cache}", folder / f"cache-{number}", *answers
            )
            for number, (kind, answers) in enumerate(SERVICES.items())
            for cache in ("empty", "full")
        }
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"copier copy, median of {ROUNDS}, in seconds of CPU")
    floor = medians["one empty file"]
    for name, value in medians.items():
        print(f"  {name:<28} {value:6.2f}  {value / floor:5.2f}x")
    print("copier copy, then uv run pytest, in seconds")
    for name, value in services.items():
        print(f"  {name:<41} {value:6.2f}")


if __name__ == "__main__":
    main()
