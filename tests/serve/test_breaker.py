from __future__ import annotations

import pytest

from indexer.errors import UnavailableError
from serve.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def call(breaker: Breaker, *, failed: bool) -> None:
    breaker.enter()
    breaker.leave(failed=failed)


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker("Milvus", failures=3, open_s=2.0, clock=Clock())
    for failed in (True, True, False, True, True):
        call(breaker, failed=failed)
    assert not breaker.is_open
    call(breaker, failed=True)
    assert breaker.is_open
    with pytest.raises(
        UnavailableError, match=r"^Milvus did not answer 3 times in a row; it is asked again in 2\.0 s\.$"
    ):
        breaker.enter()


def test_one_call_tries_at_a_time_and_a_good_one_closes_it() -> None:
    clock = Clock()
    breaker = Breaker("Milvus", failures=1, open_s=2.0, clock=clock)
    call(breaker, failed=True)
    clock.now += 2.0
    breaker.enter()
    with pytest.raises(UnavailableError):
        breaker.enter()
    clock.now += 1.0
    breaker.leave(failed=True)
    clock.now += 1.5
    with pytest.raises(UnavailableError):
        breaker.enter()
    clock.now += 0.5
    call(breaker, failed=False)
    assert not breaker.is_open
    for _ in range(3):
        breaker.enter()


def test_a_try_that_never_ends_is_followed_by_another() -> None:
    clock = Clock()
    breaker = Breaker("Milvus", failures=1, open_s=2.0, clock=clock)
    call(breaker, failed=True)
    for _ in range(3):
        clock.now += 2.0
        breaker.enter()
