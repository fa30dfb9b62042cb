"""Runs as training leaves them, written without training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from train.runs.driver import this_driver
from train.runs.progress_file import append_progress, open_progress
from train.runs.record import RunRecord, RunResult, write_record
from train.types import TrainProgress

RESULT = RunResult(
    adapter="agronomy@3",
    steps=3,
    planned_steps=4,
    seconds=61.5,
    train_seconds=40.25,
    first_loss=2.5,
    final_loss=0.75,
    eval_loss=0.875,
    tokens=4096,
    tokens_per_s=101.8,
    stopped_early=True,
    scores={"eval_loss": 0.875, "exact_match": 0.5},
)


def reports(*losses: float, first_step: int = 1) -> list[TrainProgress]:
    steps = range(first_step, first_step + len(losses))
    return [TrainProgress(step, 4, loss, 100.0, 10.0 * step) for step, loss in zip(steps, losses, strict=True)]


def record(name: str = "agronomy-1", **changes: object) -> RunRecord:
    made = RunRecord(
        name=name,
        adapter="agronomy",
        base="tiny",
        base_fingerprint="f" * 64,
        datasets=("rows.jsonl", "more.jsonl=0.5"),
        dataset_sha256="d" * 64,
        rows=24,
        eval_datasets=("held_out.jsonl",),
        chat_template="c" * 64,
        settings={"rank": 16, "learning_rate": 0.0005, "target_modules": "all-linear", "time_budget_s": None},
        started=datetime(2026, 3, 1, 10, 30, tzinfo=UTC),
        resumed=None,
        driver=this_driver(),
        state="finished",
        result=RESULT,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def store(
    storage: Path, kept: RunRecord, progress: Sequence[TrainProgress] = tuple(reports(2.5, math.nan, 0.75))
) -> Path:
    folder = storage / kept.name
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, kept)
    with open_progress(folder) as file:
        for each in progress:
            append_progress(file, each)
    return folder
