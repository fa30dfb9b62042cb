from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue
from transformers import get_scheduler

from indexer.errors import InputError
from train.schedule import Fall, Scheduler, learning_rate_factor, transformers_fall, used_time_share

STEPS, WARMUP, RATE = 100, 5, 2e-3
OPTIONS: dict[Scheduler, dict[str, JsonValue]] = {
    "constant": {},
    "constant_with_warmup": {},
    "linear": {},
    "cosine": {},
    "cosine_with_restarts": {"num_cycles": 3},
    "cosine_with_min_lr": {"min_lr": RATE / 10},
    "polynomial": {"power": 2.0, "lr_end": RATE / 100},
    "inverse_sqrt": {},
    "warmup_stable_decay": {"num_decay_steps": 20},
}


def _fall(scheduler: Scheduler, *, warmup: int = WARMUP) -> Fall:
    return transformers_fall(
        scheduler, planned_steps=STEPS, warmup_steps=warmup, learning_rate=RATE, options=OPTIONS[scheduler]
    )


def _factor(step: int, share: float, *, scheduler: Scheduler) -> float:
    return learning_rate_factor(step, planned_steps=STEPS, warmup_steps=WARMUP, time_share=share, fall=_fall(scheduler))


def test_every_schedule_that_is_named_is_tried() -> None:
    assert set(get_args(Scheduler)) == OPTIONS.keys()


@given(
    step=st.integers(0, 200),
    warmup=st.integers(0, 20),
    share=st.floats(0, 2),
    scheduler=st.sampled_from([*OPTIONS]),
)
def test_the_factor_stays_between_zero_and_one(step: int, warmup: int, share: float, scheduler: Scheduler) -> None:
    factor = learning_rate_factor(
        step, planned_steps=STEPS, warmup_steps=warmup, time_share=share, fall=_fall(scheduler, warmup=warmup)
    )
    assert 0 <= factor <= 1


@pytest.mark.parametrize("scheduler", [*OPTIONS])
def test_the_rate_behind_the_warm_up_is_that_of_transformers(scheduler: Scheduler) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RATE)
    theirs = get_scheduler(scheduler, optimizer, WARMUP, STEPS, scheduler_specific_kwargs={**OPTIONS[scheduler]})
    for step in range(STEPS):
        if step >= WARMUP:
            assert RATE * _factor(step, 0.0, scheduler=scheduler) == pytest.approx(theirs.get_last_lr()[0]), step
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("scheduler", [*OPTIONS])
def test_the_rate_reaches_its_end_by_steps_or_by_time(scheduler: Scheduler) -> None:
    end = _factor(STEPS, 0.0, scheduler=scheduler)
    assert _factor(20, 1.0, scheduler=scheduler) == pytest.approx(end)
    assert _factor(20, 1.7, scheduler=scheduler) == pytest.approx(end)
    halfway = WARMUP + 0.5 * (STEPS - WARMUP)
    assert _factor(20, 0.5, scheduler=scheduler) == pytest.approx(_fall(scheduler)(halfway))


@pytest.mark.parametrize("scheduler", ["linear", "cosine"])
def test_the_rate_falls_to_nothing(scheduler: Scheduler) -> None:
    values = [_factor(step, 0.0, scheduler=scheduler) for step in range(WARMUP, STEPS + 1)]
    assert values[0] == 1.0
    assert values[-1] == pytest.approx(0.0)
    assert values == sorted(values, reverse=True)


def test_the_rate_rises_in_the_warm_up() -> None:
    values = [
        learning_rate_factor(step, planned_steps=100, warmup_steps=4, time_share=0.0, fall=lambda _: 1.0)
        for step in range(6)
    ]
    assert values == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("scheduler", "options", "says"),
    [
        ("cosine_with_min_lr", {}, "The schedule cosine_with_min_lr does not work with the options {}: "),
        ("linear", {"power": 2}, "unexpected keyword argument 'power'; correct train.trainer.lr_scheduler_kwargs"),
        ("polynomial", {"lr_end": 1.0}, "lr_end .* must be smaller than"),
    ],
)
def test_options_that_a_schedule_does_not_take_are_refused(
    scheduler: Scheduler, options: dict[str, JsonValue], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        transformers_fall(scheduler, planned_steps=STEPS, warmup_steps=WARMUP, learning_rate=RATE, options=options)


def test_time_is_used_up_when_one_more_step_would_not_fit() -> None:
    def share(now: float, deadline: float | None = 100.0) -> float:
        return used_time_share(now=now, started=0.0, deadline=deadline, step_seconds=2.0, reserve_seconds=10.0)

    assert share(1e9, None) == 0.0
    assert share(43.0) == pytest.approx(0.5)
    assert share(87.9) < 1.0
    assert share(88.0) == 1.0
    assert share(0.0, 10.0) == 1.0
