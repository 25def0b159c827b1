"""From every release to the working tree, for every variant: an update ends as a fresh copy."""

from pathlib import Path

import pytest
from support import VARIANTS, Answers, answers_of, name_of
from updating import NEXT, RELEASES, assert_same, committed, conflicts, fresh, git, update


@pytest.mark.parametrize("answers", VARIANTS, ids=name_of)
@pytest.mark.parametrize("version", RELEASES)
def test_an_update_ends_as_a_fresh_copy(
    history: Path, tmp_path: Path, version: str, answers: Answers
) -> None:
    service = committed(history, tmp_path / "service", version, **answers)
    secret = (service / ".env").read_text()
    update(service)
    assert answers_of(service)["_commit"] == f"v{NEXT}"
    assert_same(service, fresh(history, tmp_path / "fresh", like=service))
    assert not conflicts(service)
    assert (service / ".env").read_text() == secret
