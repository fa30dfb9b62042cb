"""What we have Ray Train's controller do: keep its list of checkpoints twice, and end runs that have no storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ray.train import Checkpoint, UserCallback

from train.faults.checkpoint_list import keep_list
from train.faults.storage import storage_fault


class StorageWatch(UserCallback):  # type: ignore[misc, unused-ignore]
    """Called in the controller's process, after its own work."""

    def __init__(self, folder: Path) -> None:
        """Take the run's folder."""
        self._folder = folder

    def after_report(
        self, run_context: object, metrics: Sequence[Mapping[str, object]], checkpoint: Checkpoint | None
    ) -> None:
        """Keep the list, which has the checkpoint by now."""
        del run_context, metrics
        if checkpoint is not None:
            keep_list(self._folder)

    def after_exception(self, run_context: object, worker_exceptions: Mapping[int, Exception]) -> None:
        """End the run where another start of its workers would be in vain.

        Raises:
            OSError: So it is; Ray Train takes an error of its callbacks for the end.
        """
        del run_context
        if fault := storage_fault(worker_exceptions.values(), folder=self._folder):
            raise fault
