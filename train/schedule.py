"""Learning rate and time budget: one measure of how far a run has come serves both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import JsonValue

from indexer.errors import InputError

# transformers' schedules that go by the steps alone (`SchedulerType`); its other ones want a metric or rise by
# themselves.
Scheduler = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "warmup_stable_decay",
]
Fall = Callable[[float], float]


def learning_rate_factor(step: int, *, planned_steps: int, warmup_steps: int, time_share: float, fall: Fall) -> float:
    """Return what the peak learning rate is multiplied with at a step.

    The rate falls with whichever runs out first, the steps or the time budget, and so reaches its end in either case.

    Args:
        step: Steps taken before this one.
        planned_steps: Steps of the whole run.
        warmup_steps: Steps in which the factor rises to 1.
        time_share: Share of the time budget that is used up; 0 without one.
        fall: The factor behind the warm-up, as `transformers_fall` gives it.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    timed = warmup_steps + min(1.0, time_share) * (planned_steps - warmup_steps)
    return fall(max(step, timed))


def transformers_fall(
    scheduler: Scheduler,
    *,
    planned_steps: int,
    warmup_steps: int,
    learning_rate: float,
    options: Mapping[str, JsonValue],
) -> Fall:
    """Return the factor of one of transformers' schedules as a function of the steps taken, whole or not.

    Args:
        scheduler: Its name.
        planned_steps: Steps of the whole run.
        warmup_steps: Steps before the fall.
        learning_rate: The peak, from which an absolute least rate in the options is a share.
        options: What else the schedule takes, transformers' `lr_scheduler_kwargs`.

    Raises:
        InputError: The schedule does not take these options, or lacks one.
    """
    import torch
    from transformers import get_scheduler

    try:
        made = get_scheduler(
            scheduler,
            torch.optim.SGD([torch.zeros(1)], lr=learning_rate),
            num_warmup_steps=warmup_steps,
            num_training_steps=planned_steps,
            scheduler_specific_kwargs=dict(options),
        )
        fall: Fall = made.lr_lambdas[0]
        fall(planned_steps)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The schedule {scheduler} does not work with the options {dict(options)}: {error}; correct "
            "train.trainer.lr_scheduler_kwargs."
        ) from error
    return fall


def used_time_share(
    *, now: float, started: float, deadline: float | None, step_seconds: float, reserve_seconds: float
) -> float:
    """Return the share of the time budget that will be used up after one more step; 1 or more means stop now.

    Args:
        now: Seconds since the epoch.
        started: When the budget began to run.
        deadline: When it ends; None: there is none.
        step_seconds: How long a step takes.
        reserve_seconds: What saving, evaluating and publishing will take.
    """
    if deadline is None:
        return 0.0
    usable = deadline - reserve_seconds - started
    return 1.0 if usable <= 0 else (now + step_seconds - started) / usable
