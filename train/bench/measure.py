"""Trains the same steps through Ray Train and without it, round by round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from train.bench.figures import ALONE, RAY, TRL, Measured, Speed, measured, median_speed
from train.prepare import PreparedRun, prepare_run
from train.registry.registry import AdapterRegistry
from train.run import run_training
from train.settings import TrainSettings
from train.trial import run_trial
from train.types import TrainProgress, TrainRequest

_NAME = "bench"


def measure(
    datasets: Sequence[str], *, settings: TrainSettings, steps: int, repeats: int, tell: Callable[[str], None]
) -> Measured:
    """Measure one worker on the initialised Ray cluster against the same work without Ray.

    Args:
        datasets: What to learn from.
        settings: How; registry and storage are replaced by folders of this measurement.
        steps: Optimiser steps of each run, 3 at least.
        repeats: Rounds; each trains every way once.
        tell: Hears what is under way.

    Raises:
        GraftworkError: As training does.
    """
    with tempfile.TemporaryDirectory(prefix="graftwork-bench-") as scratch:
        folder = Path(scratch)
        changes: dict[str, object] = {
            "workers": 1,
            "min_workers": None,
            "max_steps": steps,
            "save_steps": steps,
            "general_dataset": [],
            "engine_check": False,
            "storage_path": folder / "runs",
            "registry": folder / "registry",
        }
        alike = settings.model_copy(update=changes)
        request = TrainRequest(datasets=tuple(datasets), name=_NAME)
        prepared = prepare_run(request, settings=alike)
        runs: dict[str, list[Speed]] = {RAY: [], ALONE: [], TRL: []}
        for number in range(1, repeats + 1):
            for way, found in runs.items():
                tell(f"round {number} of {repeats}: {way}")
                found.append(_through_ray(request, prepared) if way == RAY else _without(prepared, stock=way == TRL))
        order = prepared.plan.order
        return measured(
            {way: tuple(found) for way, found in runs.items()}, steps=order.steps, tokens=int(order.tokens[-1])
        )


def _through_ray(request: TrainRequest, prepared: PreparedRun) -> Speed:
    heard: list[TrainProgress] = []
    settings = prepared.plan.settings
    run_training(request, settings=settings, registry=AdapterRegistry(settings.registry), progress=heard.append)
    ends = [progress.elapsed_s for progress in heard]
    tokens = [int(prepared.plan.order.tokens[progress.step - 1]) for progress in heard]
    speed = median_speed(ends, tokens)
    return Speed(startup_s=ends[0] - tokens[0] / speed, tokens_per_s=speed)


def _without(prepared: PreparedRun, *, stock: bool) -> Speed:
    trial = run_trial(prepared.plan, prepared.rows, stock=stock)
    return Speed(startup_s=trial.startup_s, tokens_per_s=trial.tokens_per_s)
