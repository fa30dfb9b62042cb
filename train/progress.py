"""Carries progress from the worker of rank 0 to the driver's callback.

ray.train.report is a barrier that waits for the controller's next look at the workers (every 2 s), so it is kept for
checkpoints; progress goes through a small actor instead, which nobody waits for and which may be lost.
"""

from __future__ import annotations

import time

from indexer.board import Board
from train.types import ProgressCallback, TrainProgress


class ProgressSender:
    """The worker's side; without a board it does nothing."""

    def __init__(self, board: Board[TrainProgress] | None) -> None:
        """Take the board of a `ProgressFeed`."""
        self._board = board

    def __call__(self, progress: TrainProgress) -> None:
        """Send without waiting."""
        if self._board is not None:
            self._board.tell(progress)


class ProgressFeed:
    """The driver's side: a board, and the callback that hears what is on it."""

    def __init__(self, listener: ProgressCallback | None) -> None:
        """Start the board where somebody listens."""
        self._listener = listener
        self._board: Board[TrainProgress] | None = None if listener is None else Board()

    @property
    def sender(self) -> ProgressSender:
        """What a worker calls."""
        return ProgressSender(self._board)

    def deliver(self) -> None:
        """Call the listener with everything since the last call."""
        if self._board is None or self._listener is None:
            return
        for progress in self._board.take():
            self._listener(progress)

    def close(self) -> None:
        """End the actor."""
        if self._board is not None:
            self._board.close()
            self._board = None


def elapsed_since(started: float) -> float:
    """Return the seconds since a point in time given in seconds since the epoch."""
    return time.time() - started
