"""What an update costs, from the oldest release to the last commit, beside a copy of the latter.

Run by ``nox -s bench``. In seconds of CPU: Copier and its calls of Git run one after the other, so
that is what a quiet machine takes, and a busy one disturbs it little.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from releases import next_version, releases

ROUNDS = 5


def seconds(*command: str | Path, cwd: Path) -> float:
    """Seconds of CPU of a program and its children. Raises ``CalledProcessError`` where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def git(folder: Path, *arguments: str | Path) -> None:
    seconds(
        "git", "-c", "user.name=bench", "-c", "user.email=b@example.com", *arguments, cwd=folder
    )


def main() -> None:
    copier = Path(sys.executable).with_name("copier")
    version, commit = next(iter(releases().items()))
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        template, service = Path(name, "template"), Path(name, "service")
        git(ROOT, "clone", "--quiet", "--no-tags", ROOT, template)
        git(template, "tag", f"v{version}", commit)
        git(template, "tag", f"v{next_version()}")
        old = ["--defaults", "--quiet", f"--vcs-ref=v{version}"]
        seconds(copier, "copy", *old, template, service, cwd=ROOT)
        git(service, "init", "--quiet")
        git(service, "add", "--all")
        git(service, "commit", "--quiet", "--message=Start")
        copies, updates = [], []
        for number in range(ROUNDS):
            new = Path(name, f"copy-{number}")
            copies.append(seconds(copier, "copy", "--defaults", "--quiet", template, new, cwd=ROOT))
            updates.append(seconds(copier, "update", "--defaults", "--quiet", cwd=service))
            git(service, "reset", "--quiet", "--hard")
            git(service, "clean", "--quiet", "--force", "-d")
    copy, update = statistics.median(copies), statistics.median(updates)
    print(f"copier update from {version}, median of {ROUNDS}, in seconds of CPU")
    print(f"  {'a copy of the newest version':<28} {copy:6.2f}")
    print(f"  {'the update':<28} {update:6.2f}  {update / copy:5.2f}x")


if __name__ == "__main__":
    main()
