"""What docs/work.md tells to write and to run, written and run."""

import re
from pathlib import Path

from support import ROOT, UV, copy, run

PAGE = (ROOT / "docs/work.md").read_text()


def add(folder: Path, file: str, before: str, line: str) -> None:
    text = (folder / file).read_text()
    assert text.count(before) == 1
    (folder / file).write_text(text.replace(before, line + before))


def test_a_first_app(template: Path, short_path: Path) -> None:
    service = copy(template, short_path / "first-app")
    files = dict(re.findall(r"^```python\n# (apps/\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    commands = re.search(r"^Then:\n\n((?: {4}uv run .*\n)+)", PAGE, re.MULTILINE)
    routes = re.search(
        r"^```python\n(from rest_framework.routers.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    assert files
    assert commands
    assert routes

    for folder in ("apps/note", "apps/note/tests", "apps/note/migrations"):
        (service / folder).mkdir()
        (service / folder / "__init__.py").touch()
    for name, text in files.items():
        (service / name).write_text(text)
    add(service, "api_core/settings/base.py", '    "apps.communication",\n', '    "apps.note",\n')
    urls = (service / "apps/api/urls_v1.py").read_text()
    (service / "apps/api/urls_v1.py").write_text(urls.partition("urlpatterns")[0] + routes[1])

    for command in commands[1].splitlines():
        run(UV, *command.split()[1:], cwd=service)
    run(UV, *["run", "ruff", "check", "--fix", "--select", "I", "--quiet"], cwd=service)
    run(UV, "run", "mypy", cwd=service)
