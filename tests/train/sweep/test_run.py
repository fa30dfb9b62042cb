"""Sweeps on real Ray Train workers, with a model of two layers."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from indexer.errors import UnavailableError
from tests.train.workshop import Workshop, end_leftovers, workshop
from train.prepare import prepare_run
from train.runs.record import RECORD_FILE
from train.runs.stored import find_runs, open_run
from train.sweep.results import SweepResult
from train.sweep.run import SweepProgress, run_sweep
from train.sweep.spec import parse_spec
from train.sweep.trainable import TrialJob
from train.sweep.tuning import run_trials
from train.types import TrainRequest

__all__ = ["workshop"]

pytestmark = pytest.mark.slow

FIELDS = {"epochs": [1, 10], "max_grad_norm": [1]}
# Nothing is generated and nothing general is read: what this is about costs little.
SETTINGS = {"save_steps": 2, "general_dataset": [], "eval_answers": 0}


@pytest.fixture
def shop(workshop: Workshop) -> Workshop:
    return dataclasses.replace(workshop, settings=workshop.settings.model_copy(update=SETTINGS))


def asked(shop: Workshop, **changes: object) -> TrainRequest:
    request = TrainRequest(
        datasets=(str(shop.dataset),), name="agro", run_name="spans", eval_datasets=(str(shop.held_out),)
    )
    return dataclasses.replace(request, **changes)  # type: ignore[arg-type]


def swept(
    shop: Workshop,
    *,
    heard: list[SweepProgress] | None = None,
    concurrent: int = 1,
    publish_best: bool = True,
    **changes: object,
) -> SweepResult:
    spec = parse_spec({"fields": FIELDS, "concurrent": concurrent})
    return run_sweep(
        asked(shop, **changes),
        spec=spec,
        settings=shop.settings,
        registry=shop.registry,
        publish_best=publish_best,
        progress=None if heard is None else heard.append,
    )


@pytest.mark.timeout(200)
def test_the_best_trial_is_published_once_and_none_is_trained_twice(
    shop: Workshop, capfd: pytest.CaptureFixture[str]
) -> None:
    storage, registry = shop.settings.storage_path, shop.registry
    heard: list[SweepProgress] = []
    found = swept(shop, heard=heard)
    assert (found.trained, found.published, found.error) == (2, "agro@1", None)
    assert [each.run for each in heard] == sorted(each.run for each in heard)
    assert [(each.run, each.values) for each in found.trials] == [
        ("spans-002", {"epochs": 10.0, "max_grad_norm": 1.0}),
        ("spans-001", {"epochs": 1.0, "max_grad_norm": 1.0}),
    ]
    assert [each.result and each.result.steps for each in found.trials] == [30, 3]
    better, worse = (each.value for each in found.trials)
    assert better is not None
    assert worse is not None
    assert better < worse - 0.1
    manifest = registry.manifest("agro", 1)
    assert manifest.training is not None
    assert (manifest.training.run, manifest.training.sweep, manifest.training.steps) == ("spans-002", "spans", 30)
    assert manifest.scores is not None
    assert manifest.scores["eval_loss"] == better
    registry.verify("agro", 1)
    runs = find_runs(storage).runs
    assert {run.name: (run.state, run.record.sweep) for run in runs} == {
        "spans-001": ("finished", "spans"),
        "spans-002": ("finished", "spans"),
    }
    before = {run.name: (run.folder / RECORD_FILE).read_bytes() for run in runs}
    again = swept(shop)
    assert (again.trained, again.published, again.trials[1]) == (0, "agro@1", found.trials[1])
    assert {run: (storage / run / RECORD_FILE).read_bytes() for run in before} == before
    assert [adapter.versions for adapter in registry.list()] == [(1,)]
    assert capfd.readouterr().out == ""


@pytest.mark.timeout(120)
def test_a_trial_that_fails_does_not_end_the_others(shop: Workshop, tmp_path: Path) -> None:
    """Both fail, at once: their runs are others' when they start."""
    settings = shop.settings.model_copy(update={"storage_path": tmp_path})
    jobs: dict[str, TrialJob] = {}
    for run in ("taken-001", "taken-002"):
        request = asked(shop, run_name=run, sweep="taken")
        jobs[run] = TrialJob({"target_modules": ["q_proj"]}, request, prepare_run(request, settings=settings))
        (tmp_path / run).mkdir()
        (tmp_path / run / "graftwork-run.txt").write_text("rank: 99\n")
    reasons = run_trials(jobs, concurrent=1, folder=tmp_path / "taken", listener=None)
    assert reasons.keys() == jobs.keys()
    for run, reason in reasons.items():
        assert reason.startswith(f"indexer.errors.ConflictError: The run {run} exists with another ")


def test_more_trials_at_a_time_than_the_cluster_holds_start_nothing(shop: Workshop) -> None:
    with pytest.raises(UnavailableError, match="2 trials at a time need up to 4 CPUs, the Ray cluster has 2"):
        swept(shop, run_name="wide", concurrent=2)
    assert not (shop.settings.storage_path / "wide").exists()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_an_interrupted_sweep_goes_on_by_its_name(shop: Workshop) -> None:
    """Begins in a process of its own, which Ctrl-C ends behind the second trial's first checkpoint."""
    storage = shop.settings.storage_path
    (shop.folder / "sweep.yaml").write_text(json.dumps({"fields": FIELDS}))
    settings = shop.settings.model_dump(mode="json", include=shop.settings.model_fields_set)
    command = [sys.executable, "-m", "train", str(shop.dataset), "--name", "agro", "--run-name", "cut"]
    command += ["--eval-dataset", str(shop.held_out), "--sweep", str(shop.folder / "sweep.yaml")]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    # A shell starts what runs in its background with Ctrl-C ignored; here it is heeded whoever runs the tests.
    begun = subprocess.Popen(
        ["env", "--default-signal=INT", *command], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    listed = storage / "cut-002" / "checkpoint_manager_snapshot.json"
    while begun.poll() is None and not listed.exists():
        time.sleep(0.05)
    family = psutil.Process(begun.pid).children(recursive=True)
    begun.send_signal(signal.SIGINT)
    stdout, _ = begun.communicate(timeout=60)
    end_leftovers(family)
    assert begun.returncode == 130, stdout
    lines = stdout.splitlines()
    assert lines[0].startswith("cut-001  step 1/3  loss ")
    assert json.loads(lines[-1]) == {"error": "Interrupted.", "exit_code": 130}
    assert [open_run(storage, run).state for run in ("cut-001", "cut-002")] == ["finished", "interrupted"]
    first = (storage / "cut-001" / RECORD_FILE).read_bytes()

    heard: list[SweepProgress] = []
    found = swept(shop, run_name="cut", heard=heard, publish_best=False)
    assert (found.trained, found.error) == (1, None)
    assert {(each.run, each.number, each.trials) for each in heard} == {("cut-002", 2, 2)}
    assert min(each.progress.step for each in heard) > 2
    assert [each.result and each.result.steps for each in found.trials] == [30, 3]
    assert (storage / "cut-001" / RECORD_FILE).read_bytes() == first
