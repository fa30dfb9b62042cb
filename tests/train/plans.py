"""Plans of runs that nobody trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from train.elastic import batch_shape
from train.order import training_order
from train.plan import WorkerPlan
from train.reserve import ForwardWork
from train.settings import TrainSettings


def settings_of(**changes: object) -> TrainSettings:
    return TrainSettings.model_validate({"models_dir": "m", "registry": "r", "storage_path": "s", **changes})


def plan_of(lengths: np.ndarray, settings: TrainSettings, **changes: object) -> WorkerPlan:
    plan = WorkerPlan(
        base_model="tiny",
        base_name="tiny",
        base_fingerprint="0",
        models_dir=Path("models"),
        settings=settings,
        dtype="float32",
        order=training_order(lengths, shape=batch_shape(settings), epochs=2, max_steps=None, seed=3),
        measuring=ForwardWork(),
        report_steps=1,
        started=0.0,
        deadline=None,
    )
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]
