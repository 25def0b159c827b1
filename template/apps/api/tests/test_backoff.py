import pytest

from common.backoff import backoff


@pytest.mark.parametrize(
    ("failures", "longest"), [(1, 10), (2, 20), (3, 40), (6, 320), (9, 2_560), (10, 3_600)]
)
def test_the_wait_doubles_up_to_the_longest_one_with_jitter(failures: int, longest: int) -> None:
    waits = {backoff(failures, first=10, longest=3_600) for _ in range(50)}
    assert longest / 2 <= min(waits) < max(waits) <= longest
    assert len(waits) > 25


def test_any_number_of_failures_has_a_wait() -> None:
    assert 30 <= backoff(1_000_000, first=1, longest=60) <= 60
