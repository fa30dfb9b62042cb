from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from tests.train.runs.conftest import record, reports, store
from train.runs.driver import this_driver
from train.runs.record import PAGE_FILE, PROGRESS_FILE, RECORD_FILE
from train.runs.stored import find_runs, open_run, state_now


def test_damaged_and_foreign_folders_hide_no_run(tmp_path: Path) -> None:
    store(tmp_path, record("older"))
    store(tmp_path, record("newer", started=datetime(2026, 3, 2, tzinfo=UTC)))
    (store(tmp_path, record("torn")) / RECORD_FILE).write_text("{")
    (store(tmp_path, record("scratched")) / PROGRESS_FILE).write_text("oops\n")
    (tmp_path / "foreign").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a-file").touch()
    found = find_runs(tmp_path)
    assert [run.name for run in found.runs] == ["newer", "older"]
    reasons = {each.name: each.reason for each in found.unreadable}
    assert sorted(reasons) == ["foreign", "scratched", "torn"]
    assert "holds no run.json" in reasons["foreign"]
    assert "progress.jsonl:1 is no report" in reasons["scratched"]
    assert "is not the record of a run" in reasons["torn"]


def test_no_folder_holds_no_runs(tmp_path: Path) -> None:
    assert find_runs(tmp_path / "absent").runs == ()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be read: Not a directory"):
        find_runs(tmp_path / "file")


def test_a_run_is_running_only_while_its_driver_is() -> None:
    driver = this_driver()
    earlier = dataclasses.replace(driver, started_s=driver.started_s - 60)
    elsewhere = dataclasses.replace(driver, host="elsewhere")
    assert state_now(record(state="running", driver=driver)) == "running"
    assert state_now(record(state="running", driver=earlier)) == "interrupted"
    assert state_now(record(state="running", driver=elsewhere)) == "unknown"
    assert state_now(record(state="failed", driver=earlier)) == "failed"


def test_a_run_without_a_result_tells_what_was_reported(tmp_path: Path) -> None:
    store(tmp_path, record("begun", state="running", result=None), reports(2.5, 1.5))
    store(tmp_path, record("waiting", state="running", result=None), ())
    begun, waiting = open_run(tmp_path, "begun"), open_run(tmp_path, "waiting")
    assert (begun.steps, begun.planned_steps, begun.first_loss, begun.last_loss) == (2, 4, 2.5, 1.5)
    assert (waiting.steps, waiting.planned_steps, waiting.first_loss, waiting.last_loss) == (0, None, None, None)


def test_a_finished_run_tells_its_result(tmp_path: Path) -> None:
    folder = store(tmp_path, record(), reports(9.0, math.nan))
    run = open_run(tmp_path, "agronomy-1")
    assert (run.steps, run.planned_steps, run.first_loss, run.last_loss) == (3, 4, 2.5, 0.75)
    assert run.drawings == ()
    (folder / PAGE_FILE).touch()
    assert open_run(tmp_path, "agronomy-1").drawings == (folder / PAGE_FILE,)
    progress = run.to_json()["progress"]
    assert isinstance(progress, list)
    assert progress[1] == {
        "step": 2,
        "total_steps": 4,
        "loss": None,
        "tokens_per_s": 100.0,
        "elapsed_s": 20.0,
        "eval_loss": None,
    }


def test_a_run_that_is_not_there_is_named_and_a_path_is_none(tmp_path: Path) -> None:
    store(tmp_path / "runs", record())
    with pytest.raises(NotFoundError, match=r"no training run 'agronomy-2' in .*; `graftwork runs list` names them"):
        open_run(tmp_path / "runs", "agronomy-2")
    with pytest.raises(InputError, match="cannot name a training run"):
        open_run(tmp_path / "runs" / "agronomy-1", "../agronomy-1")
