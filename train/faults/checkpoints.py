"""Checkpoints on their way into a run's folder: uploaded while training goes on, and all there before a worker ends.

The one place that calls ray.train.report, which waits for all ranks: each calls it at the same steps.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import ray.train

from train.faults.storage import CLAIM_FILE


def report_checkpoint(checkpoint: Path, *, run: Path, metrics: dict[str, float], wait: bool) -> None:
    """Give a checkpoint to Ray Train, which uploads it, deletes the folder, and takes the oldest kept one away.

    Every rank calls it, each with its own folder; Ray merges them into one checkpoint.

    Args:
        checkpoint: Its folder, in one that lives until `settle` has returned.
        run: The run's folder.
        metrics: What is kept with it.
        wait: Return when this rank's part, and those before it, are stored, not when they are under way.

    Raises:
        FileNotFoundError: The run's folder is gone, with the checkpoints in it; nothing is made in its place.
        OSError: This checkpoint cannot be stored, where it is waited for; otherwise Ray Train ends the workers.
    """
    if not (run / CLAIM_FILE).is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(run))
    mode = ray.train.CheckpointUploadMode
    ray.train.report(
        metrics,
        checkpoint=ray.train.Checkpoint.from_directory(str(checkpoint)),
        checkpoint_dir_name=checkpoint.name,
        checkpoint_upload_mode=mode.SYNC if wait else mode.ASYNC,
        delete_local_checkpoint_after_upload=True,
    )


def settle() -> None:
    """Wait until every checkpoint that was reported is stored and known to Ray Train."""
    ray.train.get_all_reported_checkpoints(consistency_mode=ray.train.CheckpointConsistencyMode.COMMITTED)
