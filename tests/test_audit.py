"""`nox -s audit`: pip-audit itself does not fail for a package that it could not look up."""

import json
from pathlib import Path
from typing import Any

import audit
from support import ROOT, TEMPLATE
from support.locks import LOCKS, locked

FINE = {"name": "django", "version": "6.1.3", "vulns": []}
WEAK = {
    "name": "jinja2",
    "version": "2.10",
    "vulns": [
        {"id": "PYSEC-2019-217", "fix_versions": ["2.10.1", "3.0"]},
        {"id": "PYSEC-0000-1", "fix_versions": []},
    ],
}
UNKNOWN = {"name": "idna", "skip_reason": "Dependency not found"}


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_an_audit_without_advisories_succeeds() -> None:
    assert audit.faults(report(FINE)) == []


def test_an_audit_names_each_advisory_and_the_versions_that_fix_it() -> None:
    assert audit.faults(report(FINE, WEAK)) == [
        "jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1, 3.0",
        "jinja2 2.10: PYSEC-0000-1, fixed in no version yet",
    ]


def test_a_package_that_could_not_be_checked_fails_the_audit() -> None:
    (fault,) = audit.faults(report(FINE, UNKNOWN))
    assert fault.startswith("1 of 2 packages could not be checked")
    assert fault.endswith("idna")


def test_an_audit_without_a_report_fails() -> None:
    (fault,) = audit.faults("")
    assert "could not be reached" in fault


def test_every_locked_package_is_audited(tmp_path: Path) -> None:
    audited = locked(audit.everything_locked(tmp_path / "requirements.txt"))
    for lock in [ROOT / "requirements.txt", *(TEMPLATE / f"{name}.jinja" for name in LOCKS)]:
        assert locked(lock).keys() <= audited.keys()
