"""Learning rate and time budget: one measure of how far a run has come serves both."""

from __future__ import annotations

import math
from typing import Literal

Scheduler = Literal["constant_with_warmup", "linear", "cosine"]


def learning_rate_factor(
    step: int, *, planned_steps: int, warmup_steps: int, time_share: float, scheduler: Scheduler
) -> float:
    """Return what the peak learning rate is multiplied with at a step.

    The rate falls with whichever runs out first, the steps or the time budget, and so reaches its end in either case.

    Args:
        step: Steps taken before this one.
        planned_steps: Steps of the whole run.
        warmup_steps: Steps in which the factor rises to 1.
        time_share: Share of the time budget that is used up; 0 without one.
        scheduler: Shape of the fall.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if scheduler == "constant_with_warmup":
        return 1.0
    stepped = (step - warmup_steps) / max(1, planned_steps - warmup_steps)
    done = min(1.0, max(stepped, time_share))
    return 1.0 - done if scheduler == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


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
