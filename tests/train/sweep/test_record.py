from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError, UnavailableError
from tests.train.runs.conftest import record as run_record
from tests.train.runs.conftest import store
from train.runs.driver import Driver, driver_of, this_driver
from train.runs.record import SWEEP_FILE
from train.runs.stored import find_runs
from train.sweep.record import SweepRecord, check_sweep, write_sweep

SWEEP = SweepRecord(
    name="s",
    adapter="agro",
    trials={"s-001": {"rank": 4}, "s-002": {"rank": 8}},
    measured_on="m" * 64,
    started=datetime(2026, 3, 1, tzinfo=UTC),
    driver=this_driver(),
)


def test_a_sweep_is_gone_on_with_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    assert check_sweep(folder, SWEEP) is None
    write_sweep(folder, SWEEP)
    assert check_sweep(folder, dataclasses.replace(SWEEP, started=datetime.now(UTC))) == SWEEP


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"adapter": "other"}, "with another adapter;"),
        ({"trials": {"s-001": {"rank": 4}}}, "with another list of trials;"),
        ({"trials": {}, "measured_on": "n" * 64}, "with another list of trials, evaluation;"),
    ],
)
def test_another_sweep_of_the_name_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    write_sweep(tmp_path, SWEEP)
    with pytest.raises(ConflictError, match=f"The sweep s exists {says} give the same"):
        check_sweep(tmp_path, dataclasses.replace(SWEEP, **changes))  # type: ignore[arg-type]


def test_a_sweep_that_another_process_drives_is_refused_until_that_is_gone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        write_sweep(tmp_path, dataclasses.replace(SWEEP, driver=driver_of(other.pid)))
        with pytest.raises(ConflictError, match=f"s is under way in process {other.pid}; wait for it"):
            check_sweep(tmp_path, SWEEP)
    finally:
        other.communicate(b"\n")
    assert check_sweep(tmp_path, SWEEP) is not None


def test_one_of_another_machine_is_gone_on_with(tmp_path: Path) -> None:
    write_sweep(tmp_path, dataclasses.replace(SWEEP, driver=Driver(host="elsewhere", pid=1, started_s=1.0)))
    assert check_sweep(tmp_path, SWEEP) is not None


def test_a_run_of_the_name_and_damage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="s is the name of a training run; give the sweep another"):
        check_sweep(store(tmp_path, run_record("s")), SWEEP)
    (tmp_path / SWEEP_FILE).write_text("{")
    with pytest.raises(InputError, match=rf"{SWEEP_FILE} is not the record of a sweep"):
        check_sweep(tmp_path, SWEEP)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="The record of the sweep cannot be written"):
        write_sweep(tmp_path / "file" / "s", SWEEP)


def test_a_sweep_is_not_taken_for_a_damaged_run(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", SWEEP)
    store(tmp_path, run_record("s-001", sweep="s"))
    found = find_runs(tmp_path)
    assert [(run.name, run.record.sweep) for run in found.runs] == [("s-001", "s")]
    assert found.unreadable == ()
