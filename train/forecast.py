"""What a run will read, learn, weigh and take, before any cluster is asked for anything: `graftwork train --plan`.

Speed and memory are measured, not guessed: a process of its own trains a few steps of the run, with its own base model,
rows and batch, as one worker would.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from train.order import BatchShape, training_order
from train.packing import Fill, fill_of
from train.plan import WorkerPlan, WorkerRows
from train.prepare import PreparedRun
from train.reserve import ForwardWork
from train.trial import Trial, run_trial
from train.types import TokenStatistics

# Steps that a trial takes; the first one warms up and does not count.
TRIAL_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is known of a run before it.

    Attributes:
        name: Of the adapter.
        base: Of the base model.
        statistics: Tokens of an epoch.
        packed: The sequences that an epoch's rows are packed into; None where they are not.
        workers: Data-parallel workers.
        rows_per_step: Rows, or packed sequences, that an optimiser step reads over all workers.
        steps: Optimiser steps.
        tokens: Tokens that all steps read.
        dtype: Number type of weights and arithmetic.
        trial: What was measured; None where nothing was.
        reason: Why nothing was measured.
    """

    name: str
    base: str
    statistics: TokenStatistics
    packed: Fill | None
    workers: int
    rows_per_step: int
    steps: int
    tokens: int
    dtype: str
    trial: Trial | None
    reason: str = ""

    @property
    def seconds(self) -> float | None:
        """Seconds of all steps, where every worker is as fast as the trial was."""
        return None if self.trial is None else self.tokens / self.workers / self.trial.tokens_per_s

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        trial: JsonValue = None if self.trial is None else asdict(self.trial)
        fields: dict[str, JsonValue] = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in {"statistics", "packed", "trial"}
        }
        packed: JsonValue = None if self.packed is None else self.packed.to_json()
        return {
            **fields,
            "dataset": self.statistics.to_json(),
            "packed": packed,
            "trial": trial,
            "seconds": self.seconds,
        }


def forecast(prepared: PreparedRun, *, name: str, measure: bool) -> Forecast:
    """Put together what a prepared run says, and train a few of its steps.

    Args:
        prepared: The run.
        name: Of the adapter.
        measure: Whether to train steps; left out for a GPU that this machine does not have.

    Raises:
        GraftworkError: A step cannot be trained here: the base model does not load, or the memory does not hold it.
    """
    plan = prepared.plan
    reason = "" if measure else "nothing was to be measured"
    if measure and plan.settings.use_gpu and not _has_gpu():
        reason = "train.use_gpu is set, and this machine has no GPU"
    return Forecast(
        name=name,
        base=prepared.base.name,
        statistics=prepared.statistics,
        packed=fill_of(prepared.rows.train, length=plan.settings.sequence_length),
        workers=plan.settings.workers,
        rows_per_step=len(plan.order.rows) // plan.order.steps,
        steps=plan.order.steps,
        tokens=int(plan.order.tokens[-1]),
        dtype=plan.dtype,
        trial=None if reason else run_trial(_short(prepared.plan, prepared.rows), prepared.rows),
        reason=reason,
    )


def _short(plan: WorkerPlan, rows: WorkerRows) -> WorkerPlan:
    """The same run with one worker and few steps; each worker of the whole one reads as many rows in a step."""
    settings = plan.settings.model_copy(update={"workers": 1})
    shape = BatchShape(1, settings.per_device_batch_size, settings.gradient_accumulation)
    order = training_order(
        rows.train.lengths, shape=shape, epochs=settings.epochs, max_steps=TRIAL_STEPS, seed=settings.seed
    )
    return dataclasses.replace(plan, settings=settings, order=order, deadline=None, measuring=ForwardWork())


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
