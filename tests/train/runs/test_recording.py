"""The record of a run while it lasts and when it ends, also by a failure, Ctrl-C and SIGKILL; no cluster is needed."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.errors import GraftworkError, InputError
from tests.full_disk import full_disk
from tests.train.runs.conftest import RESULT, record, reports, store
from train.prepare import PreparedRun, prepare_run
from train.registry import AdapterManifest, AdapterRegistry
from train.run import run_training
from train.runs.facts import facts
from train.runs.record import CURVE_FILE, PAGE_FILE, RECORD_FILE, read_record
from train.runs.recording import Recording, note_published, recorded_run
from train.runs.stored import read_run
from train.settings import TrainSettings
from train.types import ProgressCallback, TrainProgress, TrainRequest, TrainResult

ROW = '{"prompt": "How deep is the ford?", "completion": "Three fathoms."}\n'
# What a driver does that is killed before the end of its run; its folder is the argument.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.train.runs.conftest import record, reports, store
store(Path(sys.argv[1]), record("killed", state="running", result=None), reports(2.5, 1.5))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(8 * ROW)
    return path


@pytest.fixture(scope="module")
def ready(rows: Path, tiny_base_folder: Path) -> PreparedRun:
    settings = TrainSettings(base_model=str(tiny_base_folder), dtype="float32", rank=4, engine_check=False)
    return prepare_run(TrainRequest(datasets=(str(rows),), name="ford"), settings=settings)


@pytest.fixture
def prepared(ready: PreparedRun, tmp_path: Path) -> PreparedRun:
    settings = ready.plan.settings.model_copy(update={"storage_path": tmp_path})
    return dataclasses.replace(ready, plan=dataclasses.replace(ready.plan, settings=settings))


def recorded(prepared: PreparedRun, *, progress: ProgressCallback | None = None) -> AbstractContextManager[Recording]:
    request = TrainRequest(datasets=("rows.jsonl",), name="ford", eval_datasets=("held.jsonl",), time_budget_s=90.0)
    return recorded_run(
        prepared, request=request, run_name="ford-1", shaped_by=("rank", "learning_rate"), progress=progress
    )


def hear(recording: Recording, progress: Sequence[TrainProgress]) -> None:
    for each in progress:
        recording.hear(each)


def end_by(error: BaseException, prepared: PreparedRun, progress: Sequence[TrainProgress] = ()) -> None:
    """Have a run end by an error after some reports."""
    with recorded(prepared) as recording:
        assert read_record(prepared.plan.settings.storage_path / "ford-1").state == "running"
        hear(recording, progress)
        raise error


def outcome(prepared: PreparedRun) -> TrainResult:
    manifest = AdapterManifest(
        name="ford",
        version=2,
        engine_id=1,
        base_model="tiny",
        base_fingerprint="f",
        chat_template_hash=None,
        rank=4,
        alpha=8,
        target_modules=("q_proj",),
        files={},
        dataset=None,
        scores={"eval_loss": 1.25, "astray": math.nan},
        training=None,
        created_at=datetime.now(UTC),
        created_by="test",
        code_version="0",
    )
    return TrainResult(
        manifest=manifest,
        run_name="ford-1",
        run_path="/runs/ford-1",
        steps=2,
        planned_steps=4,
        seconds=12.34,
        train_seconds=6.78,
        first_loss=2.5,
        final_loss=1.5,
        scores={"eval_loss": 1.25},
        best_step=None,
        tokens=1000,
        tokens_per_s=81.26,
        stopped_early=True,
        statistics=prepared.statistics,
    )


def test_a_run_is_recorded_from_its_first_moment(prepared: PreparedRun, tmp_path: Path) -> None:
    heard: list[TrainProgress] = []
    with recorded(prepared, progress=heard.append) as recording:
        begun = read_run(tmp_path / "ford-1")
        assert (begun.state, begun.record.state, begun.progress) == ("running", "running", ())
        hear(recording, reports(2.5, 1.5))
        assert read_run(tmp_path / "ford-1").progress == tuple(reports(2.5, 1.5)) == tuple(heard)
    kept = begun.record
    assert kept.settings == {
        "rank": 4,
        "learning_rate": 0.0005,
        "workers": 2,
        "dtype": "float32",
        "time_budget_s": 90.0,
    }
    assert (kept.name, kept.adapter, kept.datasets, kept.eval_datasets) == (
        "ford-1",
        "ford",
        ("rows.jsonl",),
        ("held.jsonl",),
    )
    assert (kept.base, kept.rows, kept.resumed) == ("tiny", 8, None)
    assert (kept.base_fingerprint, kept.dataset_sha256) == (prepared.base.fingerprint, prepared.dataset.sha256)


def test_a_finished_run_leaves_its_result_its_curve_and_its_page(prepared: PreparedRun, tmp_path: Path) -> None:
    with recorded(prepared) as recording:
        hear(recording, reports(2.5, 1.5))
    result = outcome(prepared)
    assert recording.finish(result) is result
    run = read_run(tmp_path / "ford-1")
    assert run.state == "finished"
    assert run.record.result is not None
    assert (run.record.result.adapter, run.record.result.scores) == ("ford@2", {"eval_loss": 1.25})
    assert (run.record.result.seconds, run.record.result.tokens_per_s) == (12.3, 81.3)
    assert (run.steps, run.planned_steps, run.first_loss, run.last_loss) == (2, 4, 2.5, 1.5)
    assert (tmp_path / "ford-1" / CURVE_FILE).read_bytes().startswith(b"\x89PNG")
    assert "ford@2" in (tmp_path / "ford-1" / PAGE_FILE).read_text()


def test_a_failed_run_says_why_in_one_line_and_is_drawn(prepared: PreparedRun, tmp_path: Path) -> None:
    with pytest.raises(GraftworkError, match="lost its"):
        end_by(GraftworkError("The run lost its\nworkers."), prepared, reports(2.5))
    kept = read_record(tmp_path / "ford-1")
    assert (kept.state, kept.reason, kept.result) == ("failed", "The run lost its workers.", None)
    assert "lost its workers" in (tmp_path / "ford-1" / PAGE_FILE).read_text()
    with pytest.raises(ZeroDivisionError):
        end_by(ZeroDivisionError("division by zero"), prepared)
    assert read_record(tmp_path / "ford-1").reason == "ZeroDivisionError: division by zero"


def test_a_run_that_is_interrupted_says_so(prepared: PreparedRun, tmp_path: Path) -> None:
    for error in (KeyboardInterrupt(), SystemExit(1)):
        with pytest.raises(type(error)):
            end_by(error, prepared)
        assert read_record(tmp_path / "ford-1").state == "interrupted"


def test_a_trial_names_its_sweep_and_is_published_later(
    prepared: PreparedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = TrainRequest(datasets=("rows.jsonl",), name="ford", sweep="fords")
    with recorded_run(prepared, request=request, run_name="ford-1", shaped_by=(), progress=None) as recording:
        recording.end("finished", result=dataclasses.replace(RESULT, adapter=None))
    folder = tmp_path / "ford-1"
    shown = dict(facts(read_run(folder)))
    assert (shown["state"], shown["sweep"], shown["adapter"]) == ("finished", "fords", "ford")
    note_published(folder, adapter="ford@7")
    run = read_run(folder)
    assert run.record.result == dataclasses.replace(RESULT, adapter="ford@7")
    assert dict(facts(run))["adapter"] == "ford@7"
    assert "ford@7" in (folder / PAGE_FILE).read_text()
    (folder / RECORD_FILE).unlink()
    with caplog.at_level(logging.WARNING):
        note_published(folder, adapter="ford@8")
    assert "that ford@8 was published is not noted" in caplog.text


def test_a_run_that_is_gone_on_with_keeps_its_start_and_its_reports(prepared: PreparedRun, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        end_by(KeyboardInterrupt(), prepared, reports(2.5, 1.5, 1.4))
    first = read_record(tmp_path / "ford-1")
    with recorded(prepared) as recording:
        again = read_record(tmp_path / "ford-1")
        hear(recording, reports(1.3, first_step=3))
    assert (again.state, again.started) == ("running", first.started)
    assert again.resumed is not None
    assert again.resumed > first.started
    assert [each.loss for each in read_run(tmp_path / "ford-1").progress] == [2.5, 1.5, 1.3]


def test_a_damaged_record_is_not_written_over(prepared: PreparedRun, tmp_path: Path) -> None:
    (tmp_path / "ford-1").mkdir()
    (tmp_path / "ford-1" / RECORD_FILE).write_text("{")
    with pytest.raises(InputError, match="mend it, or take the file away"), recorded(prepared):
        pytest.fail("a run began")
    assert (tmp_path / "ford-1" / RECORD_FILE).read_text() == "{"


def test_a_full_disk_ends_no_run(prepared: PreparedRun, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[TrainProgress] = []
    with caplog.at_level(logging.WARNING), recorded(prepared, progress=heard.append) as recording:
        hear(recording, reports(2.5))
        with full_disk():
            hear(recording, reports(1.5, 1.4, first_step=2))
            recording.finish(outcome(prepared))
    assert len(heard) == 3
    assert [each.message.split(" (")[0] for each in caplog.records] == [
        f"reports of the run are no longer kept in {tmp_path / 'ford-1'}",
        f"the end of the run is not kept whole in {tmp_path / 'ford-1'}",
    ]
    assert read_run(tmp_path / "ford-1").progress == tuple(reports(2.5))


def test_a_driver_that_was_killed_leaves_an_interrupted_run(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=Path(__file__).parents[3])
    run = read_run(tmp_path / "killed")
    assert (run.record.state, run.state, run.steps) == ("running", "interrupted", 2)


def test_training_keeps_the_record_of_its_run(
    ready: PreparedRun, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers, which need a cluster, are stood in for: they report twice and are lost."""

    def lost(prepared: PreparedRun, *, run_name: str, progress: ProgressCallback, scratch: Path) -> None:
        for each in reports(2.5, 1.5):
            progress(each)
        raise GraftworkError(f"The training run {run_name} failed.")

    monkeypatch.setattr("train.launch.launch", lost)
    monkeypatch.setattr("train.launch.check_cluster", lambda settings: None)
    settings = ready.plan.settings.model_copy(update={"storage_path": tmp_path / "runs", "registry": tmp_path / "r"})
    heard: list[TrainProgress] = []
    with pytest.raises(GraftworkError, match="The training run ford-7 failed"):
        run_training(
            TrainRequest(datasets=(str(rows),), name="ford", run_name="ford-7"),
            settings=settings,
            registry=AdapterRegistry(tmp_path / "r"),
            progress=heard.append,
        )
    run = read_run(tmp_path / "runs" / "ford-7")
    assert (run.state, run.record.reason) == ("failed", "The training run ford-7 failed.")
    assert run.progress == tuple(reports(2.5, 1.5)) == tuple(heard)
    assert run.record.settings["lr_scheduler"] == "linear"
    assert json.loads((run.folder / RECORD_FILE).read_text())["api_version"] == "graftwork.dev/v1"


def test_a_stored_run_is_what_a_recorded_one_is(prepared: PreparedRun, tmp_path: Path) -> None:
    with recorded(prepared):
        pass
    store(tmp_path, record("made"))
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert names == {path.name for path in (tmp_path / "ford-1").iterdir()}
