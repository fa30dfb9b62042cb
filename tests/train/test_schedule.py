from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.schedule import learning_rate_factor, used_time_share

SCHEDULERS = ("constant_with_warmup", "linear", "cosine")


@given(
    step=st.integers(0, 200),
    warmup=st.integers(0, 20),
    share=st.floats(0, 2),
    scheduler=st.sampled_from(SCHEDULERS),
)
def test_the_factor_stays_between_zero_and_one(step: int, warmup: int, share: float, scheduler: str) -> None:
    factor = learning_rate_factor(
        step,
        planned_steps=100,
        warmup_steps=warmup,
        time_share=share,
        scheduler=scheduler,  # type: ignore[arg-type]
    )
    assert 0 <= factor <= 1


@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
def test_the_rate_reaches_its_end_by_steps_or_by_time(scheduler: str) -> None:
    def factor(step: int, share: float) -> float:
        return learning_rate_factor(
            step,
            planned_steps=100,
            warmup_steps=5,
            time_share=share,
            scheduler=scheduler,  # type: ignore[arg-type]
        )

    assert factor(5, 0.0) == 1.0
    assert factor(100, 0.0) == pytest.approx(0.0)
    assert factor(20, 1.0) == pytest.approx(0.0)
    assert factor(20, 0.5) < factor(20, 0.0)
    values = [factor(step, 0.0) for step in range(5, 101)]
    assert values == sorted(values, reverse=True)


def test_the_rate_rises_in_the_warm_up() -> None:
    values = [
        learning_rate_factor(step, planned_steps=100, warmup_steps=4, time_share=0.0, scheduler="constant_with_warmup")
        for step in range(6)
    ]
    assert values == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


def test_time_is_used_up_when_one_more_step_would_not_fit() -> None:
    def share(now: float, deadline: float | None = 100.0) -> float:
        return used_time_share(now=now, started=0.0, deadline=deadline, step_seconds=2.0, reserve_seconds=10.0)

    assert share(1e9, None) == 0.0
    assert share(43.0) == pytest.approx(0.5)
    assert share(87.9) < 1.0
    assert share(88.0) == 1.0
    assert share(0.0, 10.0) == 1.0
