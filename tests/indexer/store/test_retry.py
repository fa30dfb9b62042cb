from __future__ import annotations

import pytest

from indexer.errors import UnavailableError
from indexer.store.retry import MAX_ATTEMPTS, WAITED_S, call_with_retry


def test_retry_waits_longer_each_time_and_then_gives_up() -> None:
    waits: list[float] = []
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise UnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        call_with_retry(fail, description="write", before_retry=lambda: None, sleep=waits.append)
    assert len(calls) == MAX_ATTEMPTS
    assert waits[:4] == sorted(waits[:4])
    assert 0.8 * WAITED_S < sum(waits) < 1.3 * WAITED_S
    assert len(waits) == MAX_ATTEMPTS - 1


def test_retry_ends_with_the_first_success() -> None:
    outcomes = iter([UnavailableError("gone"), None])
    reset: list[int] = []

    def once() -> str:
        error = next(outcomes)
        if error is not None:
            raise error
        return "written"

    done = call_with_retry(once, description="write", before_retry=lambda: reset.append(1), sleep=lambda _: None)
    assert (done, reset) == ("written", [1])


def test_other_errors_are_not_retried() -> None:
    def fail() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        call_with_retry(fail, description="write", before_retry=lambda: None, sleep=pytest.fail)
