"""Carries progress from the worker of rank 0 to the driver's callback.

ray.train.report is a barrier that waits for the controller's next look at the workers (every 2 s), so it is kept for
checkpoints; progress goes through a small actor instead, which nobody waits for.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import ray

from train.types import ProgressCallback, TrainProgress

if TYPE_CHECKING:
    from ray.actor import ActorHandle


class _Board:
    """Keeps what was said until the driver fetches it."""

    def __init__(self) -> None:
        self._news: list[TrainProgress] = []

    def push(self, progress: TrainProgress) -> None:
        self._news.append(progress)

    def drain(self) -> list[TrainProgress]:
        news, self._news = self._news, []
        return news


class ProgressSender:
    """The worker's side; without a board it does nothing."""

    def __init__(self, board: ActorHandle | None) -> None:
        """Take the board of a `ProgressFeed`."""
        self._board = board

    def __call__(self, progress: TrainProgress) -> None:
        """Send without waiting."""
        if self._board is not None:
            self._board.push.remote(progress)


class ProgressFeed:
    """The driver's side: an actor without a CPU of its own, and the callback that hears what is on it."""

    def __init__(self, listener: ProgressCallback | None) -> None:
        """Start the board where somebody listens."""
        self._listener = listener
        self._board = None if listener is None else ray.remote(num_cpus=0)(_Board).remote()

    @property
    def sender(self) -> ProgressSender:
        """What a worker calls."""
        return ProgressSender(self._board)

    def deliver(self) -> None:
        """Call the listener with everything since the last call."""
        if self._board is None or self._listener is None:
            return
        for progress in ray.get(self._board.drain.remote()):
            self._listener(progress)

    def close(self) -> None:
        """End the actor."""
        if self._board is not None:
            ray.kill(self._board)
            self._board = None


def elapsed_since(started: float) -> float:
    """Return the seconds since a point in time given in seconds since the epoch."""
    return time.time() - started
