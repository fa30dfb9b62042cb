"""The whole road of training on two real Ray Train workers, with a model of two layers."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import train.run
from indexer.errors import ConflictError, GraftworkError, InputError, UnavailableError
from tests.train.workshop import (
    EPOCHS,
    GENERAL,
    LOSSES,
    ROWS,
    STEPS,
    Workshop,
    continued,
    end_leftovers,
    kill_a_worker,
    loss_on,
    workshop,
)
from train.chat_template import training_template
from train.engine.builds import installed_engines
from train.engine.verdict import EngineCheckError
from train.gate import GateError
from train.plan import WorkerOutcome
from train.prepare import PreparedRun, prepare_run
from train.registry import check_name
from train.run import (
    TrainProgress,
    TrainRequest,
    TrainResult,
    _new_run_name,
    _training_record,
)
from train.runs.stored import open_run
from train.scores import measured_names

__all__ = ["workshop"]


def test_the_chat_template_of_a_run_is_known_by_its_text(
    tiny_base_folder: Path, prepared: PreparedRun, tmp_path: Path
) -> None:
    template = training_template(AutoTokenizer.from_pretrained(tiny_base_folder), base_name="tiny")
    (tmp_path / "mine.jinja").write_text(template + "{# a remark #}")
    request = TrainRequest(datasets=(prepared.dataset.uri,), name="agro")
    settings = prepared.plan.settings.model_copy(update={"chat_template": tmp_path / "mine.jinja"})
    given = prepare_run(request, settings=settings).template_sha256
    assert given == hashlib.sha256(f"{template}{{# a remark #}}".encode()).hexdigest()
    assert prepared.template_sha256 == hashlib.sha256(template.encode()).hexdigest()


def test_the_record_counts_the_seconds_of_the_steps(prepared: PreparedRun) -> None:
    outcome = WorkerOutcome(
        steps=3, train_seconds=12.34, first_loss=2.0, final_loss=1.0, scores={}, tokens=100, tokens_per_s=8.1
    )
    record = _training_record(prepared, outcome, run_name="recorded")
    assert (record.run, record.steps, record.seconds) == ("recorded", 3, 12.3)
    assert record.stopped_early


def test_the_name_of_a_new_run_can_be_given_back() -> None:
    names = {_new_run_name("a" * 63) for _ in range(3)}
    assert len(names) == 3
    assert all(check_name(name) for name in names)


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
    assert manifest.scores == result.scores
    assert (manifest.rank, manifest.base_model, manifest.dataset and manifest.dataset.rows) == (4, "tiny", ROWS)
    assert manifest.training is not None
    assert (manifest.training.steps, manifest.training.workers, manifest.training.epochs) == (STEPS, 2, EPOCHS)
    config = json.loads((workshop.registry.path("agro", 1) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny"
    assert str(workshop.folder) not in json.dumps(config)

    assert [progress.loss for progress in heard] == pytest.approx(LOSSES, abs=5e-3)
    assert [progress.step for progress in heard] == list(range(1, STEPS + 1))
    assert {progress.total_steps for progress in heard} == {STEPS}
    assert heard[-1].tokens_per_s > 0
    assert result.tokens == EPOCHS * result.statistics.tokens
    assert json.loads(json.dumps(result.to_json()))["adapter"] == "agro@1"

    kept = open_run(workshop.settings.storage_path, "undisturbed")
    assert (kept.state, kept.steps, kept.planned_steps) == ("finished", STEPS, STEPS)
    assert kept.progress == tuple(heard)
    assert kept.record.result is not None
    assert (kept.record.result.adapter, kept.record.result.scores) == ("agro@1", manifest.scores)
    assert len(kept.drawings) == 2


@pytest.mark.slow
def test_base_and_adapter_are_measured_as_a_plain_forward_measures_them(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]
) -> None:
    result, _ = undisturbed
    scores = result.scores
    assert scores.keys() == measured_names(evaluation=True, answers=True, general=True)
    assert scores["eval_gain"] == pytest.approx(scores["base_eval_loss"] - scores["eval_loss"])
    assert scores["forgetting"] == pytest.approx(scores["general_loss"] - scores["base_general_loss"])
    assert scores["eval_gain"] > 0.5
    assert all(0 <= scores[name] <= 1 for name in ("base_f1", "f1"))
    base = AutoModelForCausalLM.from_pretrained(workshop.settings.base_model, dtype="float32")
    assert scores["base_eval_loss"] == pytest.approx(loss_on(base, workshop.held_out), rel=0.02)
    assert scores["base_general_loss"] == pytest.approx(loss_on(base, GENERAL), rel=0.02)
    adapted = PeftModel.from_pretrained(base, str(workshop.registry.path("agro", 1)))
    assert scores["eval_loss"] == pytest.approx(loss_on(adapted, workshop.held_out), rel=0.02)
    assert scores["general_loss"] == pytest.approx(loss_on(adapted, GENERAL), rel=0.02)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_an_adapter_that_its_gate_keeps_back_lies_in_the_run_and_passes_a_wider_one(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]
) -> None:
    """The same run, gone on with, measures again and trains nothing."""
    before = workshop.registry.list()
    with pytest.raises(GateError, match=r"agro is not published: forgetting is .* where the gate wants < -9; it is"):
        workshop.train(run_name="undisturbed", gate="eval_gain>0, forgetting<-9", eval_dataset=workshop.held_out)
    assert workshop.registry.list() == before
    kept = workshop.settings.storage_path / "undisturbed" / "unpublished"
    found = load_file(kept / "adapter_model.safetensors")
    for name, values in workshop.tensors(undisturbed[0]).items():
        assert np.array_equal(found[name], values), name
    assert json.loads((kept / "scores.json").read_text()) == pytest.approx(undisturbed[0].scores)
    passed = workshop.train(run_name="undisturbed", gate="eval_gain>0", eval_dataset=workshop.held_out)
    assert passed.scores == pytest.approx(undisturbed[0].scores)
    assert passed.manifest.version > undisturbed[0].manifest.version


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("batch", "accumulation"), [(1, 8), (8, 1)])
def test_one_worker_learns_what_two_learn_in_a_batch_or_row_by_row(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]], batch: int, accumulation: int
) -> None:
    expected = workshop.tensors(undisturbed[0])
    shape = {"workers": 1, "per_device_batch_size": batch, "gradient_accumulation": accumulation}
    alone = workshop.tensors(workshop.train(run_name=f"alone-{batch}", save_steps=STEPS, **shape))
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
            killed.append(kill_a_worker())

    result = workshop.train(run_name="killed", progress=kill_once)
    assert killed
    assert not psutil.pid_exists(killed[0])
    assert (result.steps, result.stopped_early) == (STEPS, False)
    assert result.first_loss == undisturbed[0].first_loss
    found = workshop.tensors(result)
    for name, values in workshop.tensors(undisturbed[0]).items():
        assert np.array_equal(found[name], values), name


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_best_adapter_is_published_and_a_killed_worker_does_not_lose_it(workshop: Workshop) -> None:
    """A rate that grows out of hand: the first checkpoints are better than the later ones."""
    heard: list[TrainProgress] = []
    killed: list[int] = []

    def kill_behind_the_best(progress: TrainProgress) -> None:
        heard.append(progress)
        if progress.step >= 5 and not killed:
            killed.append(kill_a_worker())

    result = workshop.train(
        run_name="overdone",
        progress=kill_behind_the_best,
        eval_dataset=workshop.held_out,
        learning_rate=0.2,
        lr_scheduler="constant_with_warmup",
        max_grad_norm=100.0,
        save_steps=2,
        early_stopping=2,
        epochs=100,
    )
    assert killed
    measured = {each.step: each.eval_loss for each in heard if each.eval_loss is not None}
    assert all(step % 2 == 0 for step in measured)
    best = min(measured, key=lambda step: measured[step])
    assert result.best_step == best
    assert result.scores["eval_loss"] == pytest.approx(measured[best], rel=0.02)
    assert (result.steps, result.stopped_early) == (best + 4, True)
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(workshop.settings.base_model, dtype="float32"),
        str(workshop.registry.path("agro", result.manifest.version)),
    )
    assert loss_on(adapted, workshop.held_out) == pytest.approx(measured[best], rel=0.02)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_packed_run_from_the_bases_own_weights_goes_on_and_is_published_plain(workshop: Workshop) -> None:
    """PiSSA takes its start out of the base: the restarted worker takes the same, and what is served has none of it."""
    heard: list[TrainProgress] = []
    killed: list[int] = []

    def kill_once(progress: TrainProgress) -> None:
        heard.append(progress)
        if progress.step >= 3 and not killed:
            killed.append(kill_a_worker())

    result = workshop.train(
        run_name="packed",
        progress=kill_once,
        eval_dataset=workshop.held_out,
        packing=True,
        packed_length=768,
        epochs=12,
        save_steps=2,
        learning_rate=2e-3,
        lora={"init_lora_weights": "pissa_niter_4"},
        lr_scheduler="cosine_with_min_lr",
        trainer={"lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    )
    assert killed
    assert (result.steps, result.stopped_early) == (result.planned_steps, False)
    assert result.planned_steps < 12 * ROWS / 8 / 2
    assert result.tokens == pytest.approx(12 * result.statistics.tokens, rel=0.15)
    assert result.manifest.rank == 2 * workshop.settings.rank
    assert result.scores["eval_gain"] > 0.2
    base = AutoModelForCausalLM.from_pretrained(workshop.settings.base_model, dtype="float32")
    assert result.scores["base_eval_loss"] == pytest.approx(loss_on(base, workshop.held_out), rel=1e-3)
    adapted = PeftModel.from_pretrained(base, str(workshop.registry.path("agro", result.manifest.version)))
    assert result.scores["eval_loss"] == pytest.approx(loss_on(adapted, workshop.held_out), rel=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_a_loss_that_is_no_number_ends_the_run_and_the_checkpoint_before_stays(workshop: Workshop) -> None:
    versions = workshop.registry.list()
    with pytest.raises(
        GraftworkError, match=r"run exploded ended at step \d+, because the .* is (nan|inf); "
    ) as raised:
        workshop.train(
            run_name="exploded", learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.9, save_steps=1, epochs=20
        )
    assert workshop.registry.list() == versions
    ended = int(re.search(r"at step (\d+)", str(raised.value))[1])  # type: ignore[index]
    saved = sorted(workshop.settings.storage_path.glob("exploded/checkpoint-*"), key=lambda path: int(path.name[11:]))
    assert saved
    assert int(saved[-1].name.removeprefix("checkpoint-")) < ended
    assert str(saved[-1]) in str(raised.value)
    kept = load_file(saved[-1] / "adapter_model.safetensors")
    assert all(np.isfinite(values).all() for values in kept.values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_whose_driver_was_killed_goes_on_and_ends_with_the_same_adapter(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]]
) -> None:
    settings = workshop.settings.model_dump(mode="json", include=workshop.settings.model_fields_set)
    command = [sys.executable, "-m", "train", str(workshop.dataset), "--name", "agro", "--run-name", "orphaned"]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    # Ray Train's own list of checkpoints; a later start goes on from the last one in it.
    listed = workshop.settings.storage_path / "orphaned" / "checkpoint_manager_snapshot.json"
    begun = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while begun.poll() is None and not listed.exists():
        time.sleep(0.05)
    family = psutil.Process(begun.pid).children(recursive=True)
    begun.kill()
    assert begun.wait() == -signal.SIGKILL
    end_leftovers(family)
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    last = json.loads(again.stdout.splitlines()[-1])
    assert again.returncode == 0, last
    assert not any(line.startswith("step 1/") for line in again.stdout.splitlines())
    assert last["steps"] == STEPS
    name, version = last["adapter"].split("@")
    found = load_file(workshop.registry.path(name, int(version)) / "adapter_model.safetensors")
    for tensor, values in workshop.tensors(undisturbed[0]).items():
        assert np.array_equal(found[tensor], values), tensor


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_peft_says_with_an_adapter_vllm_says_too(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run, gone on with, trains nothing, and its adapter is held against fifty of PEFT's own answers."""
    adapter = workshop.registry.path("agro", undisturbed[0].manifest.version)
    asked = continued(workshop, adapter, rows=50, tokens=64)
    monkeypatch.setattr("train.publish.probe_rows", lambda _: asked)
    result = workshop.train(run_name="undisturbed", engine_check=True, general_dataset=[])
    manifest = workshop.registry.resolve(result.manifest.ref)
    found = manifest.engine
    assert found is not None
    assert not manifest.unverified
    assert (found.name, found.dtype) == (installed_engines()[0], "float32")
    assert found.tokens == sum(len(row) - 1 for row in asked.scored)
    assert found.median_difference <= 0.02
    assert found.max_difference <= 0.2
    assert found.arrived == pytest.approx(1.0, abs=0.01)
    print(f"\n{found.tokens} tokens: median {found.median_difference:.1g}, most {found.max_difference:.1g}")
    assert undisturbed[0].manifest.unverified


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_adapter_with_which_vllm_says_something_else_is_kept_back(
    workshop: Workshop, undisturbed: tuple[TrainResult, list[TrainProgress]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT goes by a scale of one kind of module that vLLM does not read."""
    assert undisturbed
    plain = train.run._adapter_folder

    def rescaled(*arguments: Any, **named: Any) -> Path:
        folder = plain(*arguments, **named)
        config = folder / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"alpha_pattern": {"q_proj": 800}}))
        return folder

    monkeypatch.setattr("train.run._adapter_folder", rescaled)
    before = workshop.registry.list()
    with pytest.raises(
        EngineCheckError, match=r"agro is not published: in vllm.*differ.* nats at the median"
    ) as raised:
        workshop.train(run_name="undisturbed", engine_check=True, general_dataset=[])
    assert workshop.registry.list() == before
    kept = workshop.settings.storage_path / "undisturbed" / "unpublished"
    assert f"`graftwork adapters import {kept} --name agro`" in str(raised.value)
    assert (kept / "adapter_model.safetensors").is_file()
    assert open_run(workshop.settings.storage_path, "undisturbed").state == "failed"


@pytest.mark.slow
def test_a_run_whose_check_the_cluster_has_no_room_for_trains_nothing(workshop: Workshop) -> None:
    with pytest.raises(UnavailableError, match=r"0 GPUs and 4096\.0 GiB of memory on one node.*--skip-engine-check"):
        workshop.train(run_name="roomless", engine_check=True, engine_check_memory_gib=4096.0)
    assert not (workshop.settings.storage_path / "roomless").exists()


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
    assert "rows.jsonl:1: no messages" in last["error"]
    assert not (tmp_path / "r").exists()
    assert done.stderr == ""
