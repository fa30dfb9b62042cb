"""How many workers a run may have, and how its steps are divided among those that it has. Pure.

Whatever their number, a step reads the same rows in the same micro-batches and has one mean over all their supervised
tokens, so that learning rate, steps and tokens stay what they are; only the order in which gradients are added changes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InputError
from train.order import BatchShape, dealt_again
from train.plan import WorkerPlan
from train.settings import TrainSettings


def batch_shape(settings: TrainSettings) -> BatchShape:
    """How the rows of a step are divided among all workers."""
    return BatchShape(settings.workers, settings.per_device_batch_size, settings.gradient_accumulation)


def check_sizes(settings: TrainSettings) -> None:
    """See that a step can be divided among every number of workers that the run may have.

    Raises:
        InputError: There are more of the least workers than of all, or a number between them gets no equal shares.
    """
    least, most, shape = settings.least_workers, settings.workers, batch_shape(settings)
    if least > most:
        raise InputError(
            f"train.min_workers is {least}, and the run has {most} workers; lower it, or give more workers."
        )
    sizes = range(least, most + 1)
    if uneven := [size for size in sizes if shape.shared_by(size) is None]:
        named = f"{', '.join(map(str, uneven[:-1]))} or {uneven[-1]}" if len(uneven) > 1 else str(uneven[0])
        common = math.lcm(*sizes)
        raise InputError(
            f"train.min_workers {least} lets the run go on with {named} workers, among which the "
            f"{most * shape.accumulation} forward passes of a step cannot be shared out evenly; raise it, or set "
            f"train.gradient_accumulation to a multiple of {common // math.gcd(common, most)}."
        )


def plan_for(plan: WorkerPlan, lengths: NDArray[np.int64], *, workers: int) -> WorkerPlan:
    """The same run, laid out for the workers that are there.

    Args:
        plan: The run, as it was prepared.
        lengths: int64 [rows of the dataset], their tokens.
        workers: A number that `check_sizes` has let pass.
    """
    shape = batch_shape(plan.settings).shared_by(workers)
    if shape is None:
        raise ValueError(f"{plan.settings.workers} workers' steps cannot be shared out among {workers}")
    if workers == plan.settings.workers:
        return plan
    changes = {"workers": workers, "gradient_accumulation": shape.accumulation}
    return dataclasses.replace(
        plan,
        settings=plan.settings.model_copy(update=changes),
        order=dealt_again(plan.order, lengths, shape=shape),
    )
