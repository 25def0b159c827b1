"""Look up advisories for every locked version, in every variant: ``nox -s audit``."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        lock = everything_locked(Path(name, "requirements.txt"))
        options = ["--disable-pip", "--require-hashes", "--format=json", "--requirement", str(lock)]
        # It exits with 1 for advisories, and also if the index is unreachable.
        ran = subprocess.run(["pip-audit", *options], capture_output=True, text=True, check=False)
    if found := faults(ran.stdout):
        raise SystemExit("\n".join(found))
    print("The index has no advisory for any locked version.")


def everything_locked(file: Path) -> Path:
    """Write one lock with every package of the services and of this repository."""
    template = (ROOT / "template/requirements-dev.txt.jinja").read_text()
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


def faults(report: str) -> list[str]:
    """Return the advisories, and the packages that pip-audit skipped, although it does not fail for them."""
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError:
        return ["The package index could not be reached, so no package was checked."]
    found = [
        f"{package['name']} {package['version']}: {advisory['id']},"
        f" fixed in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in packages
        for advisory in package.get("vulns", [])
    ]
    if skipped := [package["name"] for package in packages if "skip_reason" in package]:
        found.append(
            f"{len(skipped)} of {len(packages)} packages could not be checked, because the package"
            f" index has no advisories for them: {', '.join(skipped)}"
        )
    return found


if __name__ == "__main__":
    main()
