"""Write the names that the questions refuse or accept: extensions/{packages,time_zones}.jinja."""

import re
import textwrap
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent.parent


def packages() -> set[str]:
    """Return the distributions that a service installs: no project can have such a name."""
    lock = (ROOT / "template/requirements-dev.txt.jinja").read_text()
    names = re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def time_zones() -> set[str]:
    """Return the current time zones. Many systems lack those with outdated names."""
    table = files("tzdata").joinpath("zoneinfo/zone.tab").read_text()
    rows = [line.split("\t") for line in table.splitlines() if not line.startswith("#")]
    return {name for _country, _place, name, *_remark in rows} | {"UTC"}


def write(name: str, values: set[str]) -> None:
    """Write a list as one string, which Jinja compiles much faster than hundreds of them."""
    text = textwrap.fill(" ".join(sorted(values)), 96, break_on_hyphens=False)
    path = ROOT / f"extensions/{name.lower()}.jinja"
    path.write_text(
        f'{{# Written by `nox -s lock`. #}}\n{{% set {name} = "\n{text}\n".split() %}}\n'
    )


def main() -> None:
    write("PACKAGES", packages())
    write("TIME_ZONES", time_zones())


if __name__ == "__main__":
    main()
