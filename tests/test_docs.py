"""What the documentation tells to write and to run, written and run."""

import re
from pathlib import Path

import pytest
import yaml
from kubernetes_validate import ValidationError, validate  # type: ignore[import-untyped]
from support import ROOT, TEMPLATE, UV, copy, run

KUBERNETES = "1.34"
PAGE = (ROOT / "docs/work.md").read_text()
SECURITY = (ROOT / "docs/security.md").read_text()
# One cell of docs/security.md: a file, by its short name or its path, with tests of it; and so on.
TESTS_OF_A_FILE = re.compile(r"(\w+|`[\w/]+\.py`) (`test_\w+`(?:, `test_\w+`)*)(?:; |$)")


def add(folder: Path, file: str, before: str, line: str) -> None:
    text = (folder / file).read_text()
    assert text.count(before) == 1
    (folder / file).write_text(text.replace(before, line + before))


def test_a_first_app(template: Path, short_path: Path) -> None:
    service = copy(template, short_path / "first-app")
    files = dict(re.findall(r"^```python\n# (apps/\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    # The page has such a list for a new field first, then for a new app.
    commands = re.findall(r"^Then:\n\n((?: {4}uv run .*\n)+)", PAGE, re.MULTILINE)[-1].splitlines()
    routes = re.search(
        r"^```python\n(from rest_framework.routers.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    assert files
    assert routes
    assert commands[-1].endswith("uv run pytest")

    for folder in ("apps/note", "apps/note/tests", "apps/note/migrations"):
        (service / folder).mkdir()
        (service / folder / "__init__.py").touch()
    for name, text in files.items():
        (service / name).write_text(text)
    add(service, "api_core/settings/base.py", '    "apps.communication",\n', '    "apps.note",\n')
    urls = (service / "apps/api/urls_v1.py").read_text()
    (service / "apps/api/urls_v1.py").write_text(urls.partition("urlpatterns")[0] + routes[1])

    for command in commands[:-1]:
        run(UV, *command.split()[1:], cwd=service)
    # Whatever a new app can break; test_an_edited_service_passes_its_tests runs the rest.
    tests = ["apps/note", "apps/api/tests/test_schema.py", "apps/api/tests/test_admin.py"]
    run(UV, "run", "pytest", "--no-cov", "--quiet", *tests, cwd=service)
    run(UV, *["run", "ruff", "check", "--fix", "--select", "I", "--quiet"], cwd=service)
    run(UV, "run", "mypy", cwd=service)


def test_what_kubernetes_is_told() -> None:
    """Each resource fits the schema of its kind, and no word in it is one that Kubernetes ignores."""
    page = (ROOT / "docs/operate.md").read_text()
    blocks = re.findall(r"^```yaml\n(apiVersion.*?)^```", page, re.MULTILINE | re.DOTALL)
    resources = [yaml.safe_load(block) for block in blocks]
    assert [resource["kind"] for resource in resources] == ["Deployment", "Deployment", "CronJob"]
    for resource in resources:
        validate(resource, KUBERNETES, strict=True)
    resources[0]["spec"]["template"]["spec"]["containers"][0]["probe"] = {}
    with pytest.raises(ValidationError):
        validate(resources[0], KUBERNETES, strict=True)


def test_every_security_decision_names_tests_that_exist() -> None:
    folders = re.findall(r"^\| `(\S+/)` \| (\*.*\*) \|$", SECURITY, re.MULTILINE)
    files = {
        name: f"{folder}test_{name}.py"
        for folder, names in folders
        for name in re.findall(r"\*(\w+)\*", names)
    }
    decisions = re.findall(
        r"^\| Decision \| ASVS \| Reason \| Test \|\n\|.*\n((?:\|.*\n)+)", SECURITY, re.MULTILINE
    )
    rows = [row for table in decisions for row in table.splitlines()]
    assert len(rows) > 80
    used = set()
    for row in rows:
        cell = row.strip("| ").rpartition(" | ")[2]
        groups = TESTS_OF_A_FILE.findall(cell)
        assert cell == "; ".join(f"{name} {tests}" for name, tests in groups), row
        for name, tests in groups:
            used.add(name)
            path = files.get(name, name.strip("`"))
            code = ((TEMPLATE if path.startswith("apps/") else ROOT) / path).read_text()
            for test in re.findall(r"test_\w+", tests):
                assert re.search(rf"def {test}\(", code), f"{test} is not in {path}"
    assert files.keys() <= used
