"""The whole road of training on two real Ray Train workers, with a model of two layers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from indexer.errors import ConflictError, InputError, UnavailableError
from train.chat_template import training_template
from train.plan import WorkerOutcome
from train.prepare import PreparedRun, prepare_run
from train.registry import AdapterRegistry, check_name
from train.run import (
    TrainProgress,
    TrainRequest,
    TrainResult,
    _claim_run,
    _new_run_name,
    _training_record,
    run_training,
)
from train.settings import TrainSettings

ROWS = 24
EPOCHS = 3
STEPS = EPOCHS * ROWS // 8


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What the runs of this module share."""

    folder: Path
    dataset: Path
    held_out: Path
    settings: TrainSettings
    registry: AdapterRegistry

    def train(
        self,
        *,
        run_name: str,
        progress: Callable[[TrainProgress], None] | None = None,
        time_budget_s: float | None = None,
        eval_dataset: Path | None = None,
        **changes: object,
    ) -> TrainResult:
        request = TrainRequest(
            dataset=self.dataset, name="agro", run_name=run_name, time_budget_s=time_budget_s, eval_dataset=eval_dataset
        )
        settings = self.settings.model_copy(update=changes)
        return run_training(request, settings=settings, registry=self.registry, progress=progress)

    def tensors(self, result: TrainResult) -> dict[str, np.ndarray]:
        folder = self.registry.path(result.manifest.name, result.manifest.version)
        return load_file(folder / "adapter_model.safetensors")


def _write_rows(path: Path, numbers: range) -> Path:
    with path.open("w") as file:
        for number in numbers:
            question = f"How deep is span {number}?"
            if number % 2:
                notes = " ".join(f"Span {other} is {other % 7} fathoms deep." for other in range(number, number + 12))
                question = f"{notes}\n\n{question}"
            answer = f"Span {number} is {number % 7} fathoms deep [1]."
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


@pytest.fixture(scope="module")
def prepared(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedRun:
    """A run that is ready to start."""
    folder = tmp_path_factory.mktemp("prepared")
    settings = TrainSettings(base_model=str(tiny_base_folder), storage_path=folder / "runs", dtype="float32")
    request = TrainRequest(dataset=_write_rows(folder / "rows.jsonl", range(ROWS)), name="agro")
    return prepare_run(request, settings=settings)


def _changed(prepared: PreparedRun, **settings: object) -> PreparedRun:
    plan = dataclasses.replace(prepared.plan, settings=prepared.plan.settings.model_copy(update=settings))
    return dataclasses.replace(prepared, plan=plan)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 8),
        ("learning_rate", 1e-4),
        ("lr_scheduler", "cosine"),
        ("warmup_ratio", 0.5),
        ("weight_decay", 0.1),
        ("max_grad_norm", 2.0),
        ("workers", 1),
    ],
)
def test_a_run_is_not_gone_on_with_under_another_setting(prepared: PreparedRun, name: str, value: object) -> None:
    _claim_run(prepared, run_name="claimed")
    _claim_run(prepared, run_name="claimed")
    with pytest.raises(ConflictError, match=f"exists with another {name};"):
        _claim_run(_changed(prepared, **{name: value}), run_name="claimed")


def test_a_run_is_not_gone_on_with_under_another_number_type_or_chat_template(prepared: PreparedRun) -> None:
    _claim_run(prepared, run_name="typed")
    other = dataclasses.replace(prepared, plan=dataclasses.replace(prepared.plan, dtype="bfloat16"))
    with pytest.raises(ConflictError, match="exists with another dtype;"):
        _claim_run(other, run_name="typed")
    with pytest.raises(ConflictError, match="exists with another chat_template;"):
        _claim_run(dataclasses.replace(prepared, template_sha256="0" * 64), run_name="typed")


def test_the_chat_template_of_a_run_is_known_by_its_text(
    tiny_base_folder: Path, prepared: PreparedRun, tmp_path: Path
) -> None:
    template = training_template(AutoTokenizer.from_pretrained(tiny_base_folder), base_name="tiny")
    (tmp_path / "mine.jinja").write_text(template + "{# a remark #}")
    request = TrainRequest(dataset=Path(prepared.dataset.uri), name="agro")
    settings = prepared.plan.settings.model_copy(update={"chat_template": tmp_path / "mine.jinja"})
    given = prepare_run(request, settings=settings).template_sha256
    assert given == hashlib.sha256(f"{template}{{# a remark #}}".encode()).hexdigest()
    assert prepared.template_sha256 == hashlib.sha256(template.encode()).hexdigest()


def test_the_record_counts_the_seconds_of_the_steps(prepared: PreparedRun) -> None:
    outcome = WorkerOutcome(
        steps=3, train_seconds=12.34, first_loss=2.0, final_loss=1.0, eval_loss=None, tokens=100, tokens_per_s=8.1
    )
    record = _training_record(prepared, outcome, run_name="recorded")
    assert (record.run, record.steps, record.seconds) == ("recorded", 3, 12.3)
    assert record.stopped_early


def test_the_name_of_a_new_run_can_be_given_back() -> None:
    names = {_new_run_name("a" * 63) for _ in range(3)}
    assert len(names) == 3
    assert all(check_name(name) for name in names)


@pytest.fixture(scope="module")
def workshop(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Two workers on a local Ray, and one dataset."""
    import ray

    folder = tmp_path_factory.mktemp("workshop")
    settings = TrainSettings(
        base_model=str(tiny_base_folder),
        models_dir=folder / "models",
        registry=folder / "registry",
        storage_path=folder / "runs",
        rank=4,
        alpha=8,
        learning_rate=5e-3,
        epochs=EPOCHS,
        save_steps=4,
    )
    made = Workshop(
        folder=folder,
        dataset=_write_rows(folder / "rows.jsonl", range(ROWS)),
        held_out=_write_rows(folder / "held-out.jsonl", range(100, 105)),
        settings=settings,
        registry=AdapterRegistry(settings.registry),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_USAGE_STATS_ENABLED", "0"), ("HF_HUB_OFFLINE", "1")):
            patch.setenv(name, value)
        # Ray's sockets lie below this folder, and a socket's path may have 107 characters.
        ray_folder = tempfile.mkdtemp(prefix="gw-", dir="/tmp")
        owner = not ray.is_initialized()
        if owner:
            ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=ray_folder)
        yield made
        if owner:
            ray.shutdown()
        shutil.rmtree(ray_folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop) -> tuple[TrainResult, list[TrainProgress]]:
    """One run that nothing happens to."""
    heard: list[TrainProgress] = []
    result = workshop.train(run_name="undisturbed", progress=heard.append, eval_dataset=workshop.held_out)
    return result, heard


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_run_learns_and_publishes(workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]) -> None:
    result, heard = undisturbed
    assert (result.steps, result.planned_steps, result.stopped_early) == (STEPS, STEPS, False)
    assert result.first_loss is not None
    assert result.final_loss is not None
    assert result.final_loss < result.first_loss - 0.5
    assert result.eval_loss is not None
    assert result.eval_loss < result.first_loss

    manifest = workshop.registry.resolve("agro@1")
    assert manifest == result.manifest
    workshop.registry.verify("agro", 1)
    assert manifest.scores == {"eval_loss": result.eval_loss}
    assert (manifest.rank, manifest.base_model, manifest.dataset and manifest.dataset.rows) == (4, "tiny", ROWS)
    assert manifest.training is not None
    assert (manifest.training.steps, manifest.training.workers, manifest.training.epochs) == (STEPS, 2, EPOCHS)
    config = json.loads((workshop.registry.path("agro", 1) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert str(workshop.folder) not in json.dumps(config)

    assert [progress.step for progress in heard] == list(range(1, STEPS + 1))
    assert {progress.total_steps for progress in heard} == {STEPS}
    assert heard[-1].tokens_per_s > 0
    assert result.tokens == EPOCHS * result.statistics.tokens
    assert json.loads(json.dumps(result.to_json()))["adapter"] == "agro@1"


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_one_worker_learns_what_two_learn(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]
) -> None:
    expected = workshop.tensors(undisturbed[0])
    alone = workshop.tensors(workshop.train(run_name="alone", workers=1, gradient_accumulation=8, save_steps=STEPS))
    assert expected.keys() == alone.keys()
    for name, values in expected.items():
        assert np.allclose(alone[name], values, atol=2e-3), name


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_killed_worker_costs_time_and_the_same_seed_gives_the_same_adapter(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]
) -> None:
    """Runs once more with the same seed, kills a worker behind the first checkpoint, and expects the same tensors."""
    killed: list[int] = []

    def kill_once(progress: TrainProgress) -> None:
        if progress.step >= 5 and not killed:
            family = psutil.Process().children(recursive=True)
            worker = next(child for child in family if "RayTrainWorker" in " ".join(child.cmdline()))
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    result = workshop.train(run_name="killed", progress=kill_once)
    assert killed
    assert not psutil.pid_exists(killed[0])
    assert (result.steps, result.stopped_early) == (STEPS, False)
    assert result.first_loss == undisturbed[0].first_loss
    found = workshop.tensors(result)
    for name, values in workshop.tensors(undisturbed[0]).items():
        assert np.array_equal(found[name], values), name


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_the_time_budget_ends_a_run_which_still_publishes(workshop: Workshop) -> None:
    budget = 40.0
    result = workshop.train(run_name="hurried", time_budget_s=budget, epochs=5000, save_steps=10**6)
    assert result.stopped_early
    assert 0 < result.steps < result.planned_steps
    assert result.seconds < budget + 5
    assert result.manifest.training is not None
    assert result.manifest.training.stopped_early
    workshop.registry.verify("agro", result.manifest.version)


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_settings_only(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]
) -> None:
    assert undisturbed
    with pytest.raises(ConflictError, match="exists with another rank"):
        workshop.train(run_name="undisturbed", rank=8)


@pytest.mark.slow
def test_a_cluster_that_is_too_small_is_refused(workshop: Workshop) -> None:
    with pytest.raises(UnavailableError, match="64 workers need 64 CPUs"):
        workshop.train(run_name="huge", workers=64)


@pytest.mark.slow
def test_the_module_entry_names_bad_rows_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    done = subprocess.run(
        [sys.executable, "-m", "train", str(tmp_path / "rows.jsonl"), "--name", "a", "--set", f"registry={tmp_path}/r"],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == InputError.exit_code
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["exit_code"] == InputError.exit_code
    assert "line 1: no messages" in last["error"]
    assert not (tmp_path / "r").exists()
    assert done.stderr == ""
