"""What happens to a run whose worker is told to end, whose disk is full, or whose folder goes: on two real workers."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from indexer.errors import UnavailableError
from tests.train.workshop import Workshop, training_workers, workshop
from train.faults.checkpoint_list import LIST_FILE, last_checkpoint
from train.run import TrainProgress, TrainResult

__all__ = ["workshop"]

# Long enough that what is done to a run comes in its midst, a second or two after its first report.
EPOCHS = 14
STEPS = EPOCHS * 3
SAVE_STEPS = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def _train(workshop: Workshop, *, run_name: str, **changes: object) -> TrainResult:
    settings = {"epochs": EPOCHS, "save_steps": SAVE_STEPS, "general_dataset": [], **changes}
    return workshop.train(run_name=run_name, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop) -> dict[str, np.ndarray]:
    """The tensors of a run that nothing happens to."""
    return workshop.tensors(_train(workshop, run_name="undisturbed"))


def _assert_the_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values), name


def test_the_last_two_checkpoints_are_kept_and_nothing_else(
    workshop: Workshop, undisturbed: dict[str, np.ndarray]
) -> None:
    found = {path.name for path in (workshop.settings.storage_path / "undisturbed").glob("checkpoint-*")}
    assert undisturbed
    assert found == {f"checkpoint-{STEPS - SAVE_STEPS}", f"checkpoint-{STEPS}"}


def test_a_worker_that_is_told_to_end_costs_no_step(workshop: Workshop, undisturbed: dict[str, np.ndarray]) -> None:
    heard: list[int] = []
    told: list[psutil.Process] = []

    def tell_once(progress: TrainProgress) -> None:
        heard.append(progress.step)
        if not told:
            told.append(training_workers()[1])
            told[0].send_signal(signal.SIGTERM)

    result = _train(workshop, run_name="told", progress=tell_once, save_steps=10**6)
    assert not told[0].is_running()
    assert heard == list(range(1, STEPS + 1))
    _assert_the_same(workshop.tensors(result), undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_ends_the_run_which_goes_on_when_there_is_room(
    workshop: Workshop, undisturbed: dict[str, np.ndarray], small_disk: Path
) -> None:
    run, ballast = small_disk / "cramped", small_disk / "ballast"
    heard: list[int] = []

    def fill_up(progress: TrainProgress) -> None:
        heard.append(progress.step)
        if not ballast.exists() and (run / LIST_FILE).exists():
            with ballast.open("wb", buffering=0) as file:
                while os.statvfs(small_disk).f_bavail:
                    file.write(bytes(min(2**20, os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize)))

    with pytest.raises(
        UnavailableError, match=rf"run cramped ended, .* written at {run}: No space left .*; checkpoint-\d+ is kept\."
    ):
        _train(workshop, run_name="cramped", progress=fill_up, storage_path=small_disk)
    assert heard == sorted(heard), "it was started again"
    kept = run / str(last_checkpoint(run))
    assert all(np.isfinite(values).all() for values in load_file(kept / "adapter_model.safetensors").values())

    ballast.unlink()
    (run / LIST_FILE).write_bytes(b"")  # as a disk leaves it that was full in the midst of writing
    whole = str(last_checkpoint(run))  # of the copy, for which there may have been no room either
    heard.clear()
    result = _train(
        workshop, run_name="cramped", progress=lambda progress: heard.append(progress.step), storage_path=small_disk
    )
    assert heard[0] == int(whole.removeprefix("checkpoint-")) + 1
    _assert_the_same(workshop.tensors(result), undisturbed)


def test_a_folder_that_goes_ends_the_run_and_is_not_made_again(workshop: Workshop, tmp_path: Path) -> None:
    storage, away = tmp_path / "runs", tmp_path / "away"

    def take_away(progress: TrainProgress) -> None:
        del progress
        if (storage / "lost" / LIST_FILE).exists():
            storage.rename(away)

    with pytest.raises(UnavailableError, match=rf"run lost ended, because its folder {storage / 'lost'} is gone, "):
        _train(workshop, run_name="lost", progress=take_away, storage_path=storage)
    assert not storage.exists()
    kept = away / "lost" / str(last_checkpoint(away / "lost"))
    assert all(np.isfinite(values).all() for values in load_file(kept / "adapter_model.safetensors").values())
