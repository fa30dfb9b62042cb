from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from train.faults.storage import CLAIM_FILE, storage_error, storage_fault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run that is there."""
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    (run / CLAIM_FILE).touch()
    return run


def _error(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_place_that_cannot_be_written_is_told_with_what_is_kept(folder: Path, number: int) -> None:
    fault = storage_fault([RuntimeError("a peer left"), _error(number)], folder=folder)
    assert fault is not None
    told = str(storage_error(fault, run_name="r", folder=folder, kept="checkpoint-4"))
    assert f"cannot be written at {folder}: {os.strerror(number)}; checkpoint-4 is kept. Make room" in told
    assert "nothing was stored before" in str(storage_error(fault, run_name="r", folder=folder, kept=None))


def test_a_full_temporary_folder_is_named_instead(folder: Path) -> None:
    fault = storage_fault([_error(errno.ENOSPC, "/tmp/x/optimizer.pt")], folder=folder)
    assert fault is not None
    assert "at /tmp/x/optimizer.pt: No space left" in str(
        storage_error(fault, run_name="r", folder=folder, kept="checkpoint-4")
    )


def test_a_folder_that_is_gone_is_told_whatever_the_errors_say(folder: Path) -> None:
    (folder / CLAIM_FILE).unlink()
    fault = storage_fault([RuntimeError("Unable to set up cluster storage")], folder=folder)
    assert fault is not None
    told = str(storage_error(fault, run_name="r", folder=folder, kept=None))
    assert f"because its folder {folder} is gone, and its checkpoints with it; bring it back" in told


def test_a_folder_that_only_a_worker_misses_is_told_so(folder: Path) -> None:
    fault = storage_fault([_error(errno.ENOENT, str(folder))], folder=folder)
    assert fault is not None
    assert "is gone from the node of a worker" in str(storage_error(fault, run_name="r", folder=folder, kept=None))


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), _error(errno.ENOENT, "/somewhere/else"), _error(errno.ECONNRESET)]
)
def test_other_ends_are_none_of_the_storage(folder: Path, error: BaseException) -> None:
    assert storage_fault([error], folder=folder) is None
