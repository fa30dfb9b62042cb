"""Carries reports from Ray Train's controller, which runs in a process of its own, to the driver's callback."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ray
from ray.train import UserCallback

from train.types import ProgressCallback, TrainProgress

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from ray.train import Checkpoint


class _Board:
    """Keeps what was reported until the driver fetches it."""

    def __init__(self) -> None:
        self._reports: list[dict[str, float]] = []

    def push(self, report: dict[str, float]) -> None:
        self._reports.append(report)

    def drain(self) -> list[dict[str, float]]:
        reports, self._reports = self._reports, []
        return reports


class BoardCallback(UserCallback):  # type: ignore[misc, unused-ignore]
    """Runs in the controller: puts rank 0's metrics on the board, without waiting."""

    def __init__(self, board: ActorHandle) -> None:
        """Take the board."""
        self._board = board

    def after_report(self, run_context: object, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """Pass on what rank 0 reported."""
        del run_context, checkpoint
        self._board.push.remote(metrics[0])


class ProgressFeed:
    """The driver's side: an actor without a CPU of its own, and the callback that hears what is on it."""

    def __init__(self, listener: ProgressCallback | None, *, total_steps: int) -> None:
        """Start the board where somebody listens."""
        self._listener = listener
        self._total_steps = total_steps
        self._board = ray.remote(num_cpus=0)(_Board).remote() if listener is not None else None

    def callbacks(self) -> list[BoardCallback]:
        """Return what to give to Ray Train's RunConfig."""
        return [] if self._board is None else [BoardCallback(self._board)]

    def deliver(self, elapsed_s: float) -> None:
        """Call the listener with every report since the last call."""
        if self._board is None or self._listener is None:
            return
        for report in ray.get(self._board.drain.remote()):
            self._listener(
                TrainProgress(
                    step=int(report["step"]),
                    total_steps=self._total_steps,
                    loss=float(report.get("loss", math.nan)),
                    tokens_per_s=float(report["tokens_per_s"]),
                    elapsed_s=elapsed_s,
                )
            )

    def close(self) -> None:
        """End the actor."""
        if self._board is not None:
            ray.kill(self._board)
            self._board = None
