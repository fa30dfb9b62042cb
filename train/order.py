"""Decides which rows every optimiser step reads, so that the workers have equal work.

Unlike a sampler this lays out the whole run beforehand: the tokens of every step are known to whoever measures speed,
a resumed run goes on in the same order, and the rows of a step do not depend on how many workers share them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BatchShape:
    """How the rows of one optimiser step are divided.

    Attributes:
        workers: Data-parallel workers.
        micro_batch: Rows per worker and forward pass.
        accumulation: Forward passes per step.
    """

    workers: int
    micro_batch: int
    accumulation: int

    @property
    def rows(self) -> int:
        """Rows per optimiser step over all workers."""
        return self.workers * self.micro_batch * self.accumulation

    def shared_by(self, workers: int) -> BatchShape | None:
        """The same rows a step, in the same micro-batches, divided among so many workers; None: not evenly."""
        accumulation, left = divmod(self.workers * self.accumulation, workers)
        return None if left else BatchShape(workers, self.micro_batch, accumulation)


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """The rows of a whole run in the order in which the data loader is to hand them out.

    Attributes:
        rows: int64 [steps * rows per step]; a loader that deals micro-batches to the workers in turn gives each worker
            its balanced share.
        tokens: int64 [steps], tokens that all workers together read up to and including each step.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        return len(self.tokens)


def training_order(
    lengths: NDArray[np.int64], *, shape: BatchShape, epochs: float, max_steps: int | None, seed: int
) -> TrainingOrder:
    """Shuffle the rows once per epoch, cut them into steps, and balance every step's tokens over the workers.

    The set of rows in a step depends on the number of rows per step only, not on the worker count. The last step is
    filled up with rows of another shuffle.
    """
    count, block = len(lengths), shape.rows
    steps = max(1, -(-round(epochs * count) // block))
    steps = min(steps, max_steps) if max_steps is not None else steps
    generator = np.random.default_rng(seed)
    shuffles = [generator.permutation(count) for _ in range(-(-steps * block // count))]
    drawn = np.concatenate(shuffles)[: steps * block].astype(np.int64).reshape(steps, block)
    dealt = np.concatenate([deal_step(step_rows, lengths[step_rows], shape=shape) for step_rows in drawn])
    tokens = np.cumsum(lengths[drawn].sum(axis=1))
    return TrainingOrder(rows=dealt, tokens=tokens)


def dealt_again(order: TrainingOrder, lengths: NDArray[np.int64], *, shape: BatchShape) -> TrainingOrder:
    """Balance the same steps over other workers: every step keeps its rows and its micro-batches.

    Args:
        order: The steps.
        lengths: int64 [rows of the dataset], their tokens.
        shape: Of as many rows per step as the order has.
    """
    steps = order.rows.reshape(order.steps, shape.rows)
    rows = np.concatenate([deal_step(step_rows, lengths[step_rows], shape=shape) for step_rows in steps])
    return TrainingOrder(rows=rows, tokens=order.tokens)


def deal_step(rows: NDArray[np.int64], lengths: NDArray[np.int64], *, shape: BatchShape) -> NDArray[np.int64]:
    """Order the rows of one step: neighbours in length share a micro-batch, and every worker gets about equal tokens.

    Longest first, each micro-batch goes to the worker with the fewest tokens that has room left.

    Args:
        rows: int64 [rows per step].
        lengths: int64 [rows per step], their tokens.
        shape: How the step is divided.
    """
    by_length = rows[np.lexsort((rows, -lengths))].reshape(-1, shape.micro_batch)
    costs = -np.sort(-lengths).reshape(-1, shape.micro_batch)[:, 0] * shape.micro_batch
    loads = np.zeros(shape.workers, dtype=np.int64)
    hands: list[list[NDArray[np.int64]]] = [[] for _ in range(shape.workers)]
    for batch, cost in zip(by_length, costs, strict=True):
        free = [worker for worker in range(shape.workers) if len(hands[worker]) < shape.accumulation]
        worker = min(free, key=lambda candidate: (loads[candidate], candidate))
        hands[worker].append(batch)
        loads[worker] += cost
    return np.concatenate(
        [hands[worker][turn] for turn in range(shape.accumulation) for worker in range(shape.workers)]
    )
