"""What `nox -s audit` makes of pip-audit's report, which calls a package without an answer fine."""

import json
from pathlib import Path
from typing import Any

from support import ROOT, TEMPLATE
from test_locks import LOCKS, locked

import noxfile

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


def test_an_audit_without_findings() -> None:
    assert noxfile.audit_faults(report(FINE)) == []


def test_an_audit_names_each_advisory_and_what_mends_it() -> None:
    assert noxfile.audit_faults(report(FINE, WEAK)) == [
        "jinja2 2.10: PYSEC-2019-217, mended in 2.10.1, 3.0",
        "jinja2 2.10: PYSEC-0000-1, mended in no version yet",
    ]


def test_what_could_not_be_looked_up_is_no_success() -> None:
    (fault,) = noxfile.audit_faults(report(FINE, UNKNOWN))
    assert fault.startswith("1 of 2 packages could not be looked up")
    assert fault.endswith("idna")


def test_no_report_is_no_success() -> None:
    (fault,) = noxfile.audit_faults("")
    assert "could not be reached" in fault


def test_every_locked_package_is_audited(tmp_path: Path) -> None:
    audited = locked(noxfile.everything_locked(tmp_path / "requirements.txt"))
    for lock in [ROOT / "requirements.txt", *(TEMPLATE / f"{name}.jinja" for name in LOCKS)]:
        assert locked(lock).keys() <= audited.keys()
