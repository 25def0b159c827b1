"""Write the lists of names that the questions refuse or accept: names.jinja, time_zones.jinja.

``nox -s lock`` runs it, after installing every package of the service into the folder given.
"""

import keyword
import re
import sys
import textwrap
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).parent
TEMPLATE = HERE.parent / "template"


def keywords() -> set[str]:
    return {word.lower() for word in keyword.kwlist}


def standard_library() -> set[str]:
    """Modules of this Python, and `test`, which it does not list."""
    return public(sys.stdlib_module_names) | {"test"}


def packages(site_packages: Path) -> set[str]:
    """What a service installs: the names in its lock, and those that are imported."""
    lock = (TEMPLATE / "requirements-dev.txt.jinja").read_text()
    names = re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE)
    modules = [entry for entry in site_packages.iterdir() if ".dist-info" not in entry.suffixes]
    return public(name.replace("-", "_") for name in names) | public(
        entry.name.split(".")[0] for entry in modules if entry.name != "bin"
    )


def own() -> set[str]:
    """The packages and modules at the top of the service."""
    entries = [entry for entry in TEMPLATE.iterdir() if entry.is_dir() or ".py" in entry.suffixes]
    return public(entry.name.split(".")[0] for entry in entries)


def time_zones() -> set[str]:
    """The zones in use today; their old names are missing from many systems."""
    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text()
    rows = [line.split("\t") for line in table.splitlines() if not line.startswith("#")]
    return {name for _country, _place, name, *_remark in rows} | {"UTC"}


def public(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names if name.isidentifier() and not name.startswith("_")}


def write(path: Path, **lists: set[str]) -> None:
    """Write each list as one string, which Jinja compiles far faster than hundreds."""
    parts = ["{# Written by `nox -s lock`. #}\n"]
    for name, values in lists.items():
        text = textwrap.fill(" ".join(sorted(values)), 96, break_on_hyphens=False)
        parts.append(f'{{% set {name} = "\n{text}\n".split() %}}\n')
    path.write_text("".join(parts))


if __name__ == "__main__":
    write(
        HERE / "names.jinja",
        KEYWORDS=keywords(),
        STANDARD_LIBRARY=standard_library(),
        PACKAGES=packages(Path(sys.argv[1])),
        OWN=own(),
    )
    write(HERE / "time_zones.jinja", TIME_ZONES=time_zones())
