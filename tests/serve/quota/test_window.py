from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve.quota.window import WINDOW_S, instant_of, seconds_until_free, used, whole_seconds

counts = st.integers(0, 1_000)


def test_the_minute_before_weighs_as_much_as_lies_within_the_last_sixty_seconds() -> None:
    assert used(100, 7, into_s=0) == 107
    assert used(100, 7, into_s=45) == 32
    assert used(100, 7, into_s=60) == 7


def test_what_was_given_back_twice_helps_nobody() -> None:
    assert used(-5, -3, into_s=10) == 0


@given(counts, counts, st.integers(1, 500), st.integers(500, 1_000), st.floats(0, 59.99))
def test_after_the_time_told_the_amount_fits_and_a_moment_before_it_did_not(
    previous: int, current: int, amount: int, limit: int, into_s: float
) -> None:
    def fits(after_s: float) -> bool:
        at = into_s + after_s
        before, now = (previous, current) if at < WINDOW_S else (current, 0)
        return used(before, now, into_s=at % WINDOW_S if at < 2 * WINDOW_S else WINDOW_S) + amount <= limit + 1e-6

    wait_s = seconds_until_free(previous, current, amount=amount, limit=limit, into_s=into_s)
    assert 0 <= wait_s <= 2 * WINDOW_S
    assert fits(wait_s + 1e-6)
    if wait_s > 0.1:
        assert not fits(wait_s - 0.1)


def test_instants_and_headers() -> None:
    assert (instant_of(125.5).minute, instant_of(125.5).into_s) == (2, 5.5)
    assert [whole_seconds(seconds) for seconds in (0.0, 0.2, 1.0, 1.2)] == [1, 1, 1, 2]
