"""Commands, code and files in the documents of a generated service."""

import re
from pathlib import Path

from support import TEMPLATE

APP = "Add an app with an endpoint"
CONTRIBUTING = (TEMPLATE / "CONTRIBUTING.md.jinja").read_text()


def section(text: str, title: str) -> str:
    """Return the part of a document under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def commands(text: str) -> list[str]:
    """Return the commands, which are the indented lines outside of blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^ {4}(\S.*)$", prose, flags=re.MULTILINE)


def code(text: str) -> list[str]:
    """Return the Python blocks that are not whole files."""
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [block for block in blocks if not block.startswith("# apps/")]


def files(text: str) -> dict[str, str]:
    """Return the blocks that begin with a file's path, by path."""
    pattern = r"^```\w+\n(?:#|<!--) (apps/\S+)(?: -->)?\n(.*?)^```"
    return dict(re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL))


def add_app(service: Path, text: str = CONTRIBUTING) -> None:
    """Write the example app, without its migration, as if `startapp` had been run."""
    part = section(text, APP)
    for folder in ("apps/notes", "apps/notes/tests", "apps/notes/migrations"):
        (service / folder).mkdir(exist_ok=True)
        (service / folder / "__init__.py").touch()
    write(service, files(part))


def write(service: Path, texts: dict[str, str]) -> None:
    assert texts
    for name, text in texts.items():
        (service / name).parent.mkdir(parents=True, exist_ok=True)
        (service / name).write_text(text)
