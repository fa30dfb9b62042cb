"""Whether a run ended for want of the place where its checkpoints go, and how that is told.

Such a run is not started again: the next try would end likewise, after another load of the model. What it stored before
stays as it is, and the same run name goes on from there once the place is well again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from indexer.errors import UnavailableError, system_cause

# Says in a run's folder what the run is made of; a folder without it is not the run's, whatever its name.
CLAIM_FILE = "graftwork-run.txt"
# No room, a quota, a file system that its system has made read-only after a fault.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def storage_fault(errors: Iterable[BaseException], *, folder: Path) -> OSError | None:
    """Find among what ended a run, or a start of its workers, that its folder is gone or cannot be written.

    Args:
        errors: What ended it.
        folder: The run's folder.
    """
    if not (folder / CLAIM_FILE).is_file():
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    return next((each for each in errors if isinstance(each, OSError) and _is_fault(each, folder=folder)), None)


def _is_fault(error: OSError, *, folder: Path) -> bool:
    return error.errno in _UNWRITABLE or (error.errno == errno.ENOENT and error.filename == str(folder))


def storage_error(fault: OSError, *, run_name: str, folder: Path, kept: str | None) -> UnavailableError:
    """Tell it.

    Args:
        fault: What `storage_fault` found.
        run_name: The run.
        folder: Its folder.
        kept: Name of the last checkpoint that was stored; None: there is none.
    """
    if fault.errno == errno.ENOENT:
        where = " from the node of a worker" if (folder / CLAIM_FILE).is_file() else ""
        return UnavailableError(
            f"The training run {run_name} ended, because its folder {folder} is gone{where}, and its checkpoints with "
            "it; bring it back, as by mounting it again, and give the same run name to go on from the last one."
        )
    cause = os.strerror(fault.errno) if fault.errno else system_cause(fault)
    before = "nothing was stored before" if kept is None else f"{kept} is kept"
    return UnavailableError(
        f"The training run {run_name} ended, because its checkpoint cannot be written at {fault.filename or folder}: "
        f"{cause}; {before}. Make room there, and give the same run name to go on."
    )
