"""An answer changed later: the service becomes what a fresh copy with that answer is."""

from itertools import permutations
from pathlib import Path

import pytest
from support import OPTIONS, VARIANTS, Answers
from updating import NEXT, assert_same, committed, conflicts, fresh, update

# The change of each answer into each other one, once amid many options and once amid few.
TOGGLES = [
    pytest.param(base | {question: old}, {question: new}, id=f"{question}-{old}-{new}-{amid}")
    for question, values in OPTIONS.items()
    for old, new in permutations(values, 2)
    for amid, base in {"many": VARIANTS[0], "few": VARIANTS[-1]}.items()
]


@pytest.mark.parametrize(("before", "change"), TOGGLES)
def test_a_changed_answer_ends_as_a_fresh_copy(
    history: Path, tmp_path: Path, before: Answers, change: Answers
) -> None:
    service = committed(history, tmp_path / "service", NEXT, **before)
    update(service, **change)
    assert_same(service, fresh(history, tmp_path / "fresh", like=service))
    assert not conflicts(service)
