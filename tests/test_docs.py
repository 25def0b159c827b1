"""Examples and names in the documentation are valid."""

import re

import pytest
import yaml
from kubernetes_validate import ValidationError, validate  # type: ignore[import-untyped]
from support import ROOT, TEMPLATE
from support.service_docs import commands, section

KUBERNETES = "1.34"
SECURITY = (ROOT / "docs/security.md").read_text()
# A cell of docs/security.md: for each file, its short name or its path, and the names of tests.
TESTS_OF_A_FILE = re.compile(r"(\w+|`[\w/]+\.py`) (`test_\w+`(?:, `test_\w+`)*)(?:; |$)")


def test_the_documented_kubernetes_resources_are_valid() -> None:
    """Each resource matches the schema of its kind, without unknown fields."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    blocks = re.findall(r"^```yaml\n(apiVersion.*?)^```", page, re.MULTILINE | re.DOTALL)
    resources = [yaml.safe_load(block) for block in blocks]
    assert [resource["kind"] for resource in resources] == ["Deployment", "Deployment"]
    for resource in resources:
        validate(resource, KUBERNETES, strict=True)
    resources[0]["spec"]["template"]["spec"]["containers"][0]["probe"] = {}
    with pytest.raises(ValidationError):
        validate(resources[0], KUBERNETES, strict=True)


def test_the_page_about_one_machine_has_the_commands_of_the_readme() -> None:
    """Those are tested in containers."""
    readme = (ROOT / "extensions/readmes/en-us.md.jinja").read_text()
    lines = commands(section(readme, "One machine with HTTPS"))
    page = (ROOT / "docs/one_machine.md").read_text()
    (env,) = re.findall(r"^```ini\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    listed = env.splitlines() + commands(page)
    expected = [re.sub(r"\{\{.*\}\}", "dump", line) for line in lines]
    assert len(expected) > 15
    assert [line for line in expected if line not in listed] == []


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
