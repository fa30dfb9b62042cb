"""Ray Train's list of a run's checkpoints, from which the run goes on: kept twice, and put back where it was cut off.

Ray rewrites its list in place at every checkpoint. A controller that is killed meanwhile, or a disk that is full, would
leave the run without it, though the checkpoints are there.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from indexer.errors import UnavailableError, writing
from train.registry.files import replace_file

logger = logging.getLogger(__name__)

# Ray's name (`ray.train.v2._internal.constants`), and that of our copy of what it last wrote whole.
LIST_FILE = "checkpoint_manager_snapshot.json"
COPY_FILE = ".checkpoints-as-of-the-last.json"


def keep_list(folder: Path) -> None:
    """Copy the list in a run's folder beside it; where that cannot be, the copy of before stays."""
    try:
        replace_file(folder / COPY_FILE, (folder / LIST_FILE).read_bytes())
    except OSError as error:
        logger.warning("the list of checkpoints is not kept twice in %s (%s)", folder, error)


def mend_list(folder: Path) -> None:
    """See that a run that has checkpoints can go on: put the copy in place of a list that was cut off.

    Raises:
        UnavailableError: The list cannot be read or written, and there is no copy that could be.
    """
    path, copy = folder / LIST_FILE, folder / COPY_FILE
    if not path.exists() or _is_whole(path):
        return
    if not _is_whole(copy):
        raise UnavailableError(
            f"The list of the run's checkpoints {path} cannot be read, nor can its copy {copy.name}; delete the list "
            "to start the run from its beginning, or take another run name."
        )
    with writing("The list of the run's checkpoints", path, otherwise="take another run name"):
        replace_file(path, copy.read_bytes())
    logger.warning("the list of checkpoints %s was cut off; its copy is used", path)


def last_checkpoint(folder: Path) -> str | None:
    """Name of the last checkpoint in the list, or in its copy where the list is cut off; None: there is none."""
    for path in (folder / LIST_FILE, folder / COPY_FILE):
        if _is_whole(path):
            latest = json.loads(path.read_bytes()).get("latest_checkpoint_result") or {}
            name = latest.get("checkpoint_dir_name")
            return name if isinstance(name, str) else None
    return None


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False
