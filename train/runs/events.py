"""A run's reports as TensorBoard's event files, below the run's folder."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from train.types import TrainProgress

FOLDER = "tensorboard"


class Events:
    """Writes event files; `tensorboard --logdir` of the runs' folder shows all runs beside each other."""

    def __init__(self, folder: Path) -> None:
        """Take the run's folder; nothing is written before the first report."""
        self._folder = folder / FOLDER
        self._writer: SummaryWriter | None = None

    def add(self, progress: TrainProgress) -> None:
        """Write one report; steps that an earlier start had beyond it no longer count. OSError where that cannot be."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=progress.step)
        values = {"loss": progress.loss, "tokens_per_s": progress.tokens_per_s, "eval_loss": progress.eval_loss}
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, progress.step)

    def close(self) -> None:
        """Write what is not yet written. OSError where that cannot be."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
