"""pytest-xdist keeps the tests of a group in one worker. Otherwise the run takes twice as long."""

from pathlib import Path

from support import run

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(4))
@pytest.mark.xdist_group("one")
def test_group(number, worker_id):
    with open("workers", "a") as workers:
        print(worker_id, file=workers)
"""


def test_a_group_stays_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(TESTS)
    run("pytest", "--numprocesses=2", "--dist=loadgroup", cwd=tmp_path)
    workers = (tmp_path / "workers").read_text().split()
    assert len(workers) == 4
    assert len(set(workers)) == 1
