"""What a sweep does once its trials are trained: no Ray is needed for that."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from indexer.errors import ConflictError
from tests.train.runs.conftest import RESULT, record, store
from tests.train.test_unpublished import RECORD
from train.gate import GateError
from train.registry import AdapterRegistry
from train.runs.record import SWEEP_FILE
from train.runs.stored import open_run
from train.settings import TrainSettings
from train.sweep.record import RESULTS_FILE
from train.sweep.results import SweepResult
from train.sweep.run import run_sweep
from train.sweep.spec import parse_spec
from train.types import TrainRequest
from train.unpublished import UnpublishedAdapter

Sweep = Callable[..., SweepResult]
LOSSES = {"s-001": 2.0, "s-002": 1.0}


def write_tiny_adapter(folder: Path) -> Path:
    """A LoRA adapter of rank 4 that fits the two-layer model."""
    folder.mkdir()
    parts = {"A": (4, 128), "B": (128, 4)}
    module = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {
        module.format(layer, part): np.zeros(shape, np.float32) for layer in (0, 1) for part, shape in parts.items()
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    fields = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(fields))
    return folder


@pytest.fixture
def sweep(tiny_base_folder: Path, tmp_path: Path, registry: AdapterRegistry) -> Sweep:
    """Goes on with a sweep of two finished trials, whose losses are `LOSSES`."""
    settings = TrainSettings(
        base_model=str(tiny_base_folder),
        storage_path=tmp_path / "runs",
        target_modules=["q_proj"],
        general_dataset=[],
        rank=4,
        engine_check=False,
    )
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "How deep?", "completion": "Two fathoms."}\n' * 8)
    for run, loss in LOSSES.items():
        result = dataclasses.replace(RESULT, adapter=None, scores={"eval_loss": loss})
        folder = store(settings.storage_path, record(run, sweep="s", result=result))
        training = RECORD.model_copy(update={"run": run, "sweep": "s"})
        UnpublishedAdapter(write_tiny_adapter(tmp_path / run), training, {"eval_loss": loss}).kept(folder)

    def go(*, publish_best: bool = True, **changes: object) -> SweepResult:
        request = TrainRequest(datasets=(str(rows),), name="agro", run_name="s", eval_datasets=(str(rows),))
        return run_sweep(
            dataclasses.replace(request, **changes),  # type: ignore[arg-type]
            spec=parse_spec({"fields": {"learning_rate": [1e-4, 1e-3]}}),
            settings=settings,
            registry=registry,
            publish_best=publish_best,
        )

    return go


def test_the_best_is_published_once(sweep: Sweep, registry: AdapterRegistry, tmp_path: Path) -> None:
    for _ in range(2):
        found = sweep()
        assert (found.trained, found.published, found.error) == (0, "agro@1", None)
        assert [each.run for each in found.trials] == ["s-002", "s-001"]
    assert [adapter.versions for adapter in registry.list()] == [(1,)]
    manifest = registry.manifest("agro", 1)
    assert manifest.training is not None
    assert (manifest.training.run, manifest.training.sweep) == ("s-002", "s")
    assert manifest.scores == {"eval_loss": 1.0}
    runs = tmp_path / "runs"
    adapters = [open_run(runs, run).record.result for run in LOSSES]
    assert [each and each.adapter for each in adapters] == [None, "agro@1"]
    written = json.loads((runs / "s" / RESULTS_FILE).read_text())
    assert (written["best"], written["adapter"]) == ("s-002", "agro@1")


def test_a_version_that_is_not_in_the_registry_is_published(
    sweep: Sweep, registry: AdapterRegistry, tmp_path: Path
) -> None:
    sweep()
    (tmp_path / "registry").rename(tmp_path / "lost")
    sweep()
    assert [adapter.versions for adapter in registry.list()] == [(1,)]


def test_the_gate_keeps_the_best_back_and_lets_it_pass_later(sweep: Sweep, registry: AdapterRegistry) -> None:
    found = sweep(gate="eval_loss<0.5")
    assert found.published is None
    assert isinstance(found.error, GateError)
    assert "agro is not published: eval_loss is 1 where the gate wants < 0.5; it is kept in " in str(found.error)
    assert registry.list() == []
    assert sweep(gate="eval_loss<1.5").published == "agro@1"


def test_nothing_is_published_where_that_is_asked_for(sweep: Sweep, registry: AdapterRegistry) -> None:
    found = sweep(publish_best=False)
    assert (found.published, found.error) == (None, None)
    assert found.best is not None
    assert found.best.run == "s-002"
    assert registry.list() == []


def test_another_evaluation_or_adapter_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    sweep()
    other = tmp_path / "other.jsonl"
    other.write_text('{"prompt": "How wide?", "completion": "Four fathoms."}\n')
    with pytest.raises(ConflictError, match="The sweep s exists with another evaluation;"):
        sweep(eval_datasets=(str(other),))
    with pytest.raises(ConflictError, match="The sweep s exists with another adapter;"):
        sweep(name="other")


def test_a_run_of_a_trials_name_that_is_another_is_refused(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "runs" / "s-001" / "graftwork-run.txt").write_text("rank: 99\n")
    with pytest.raises(ConflictError, match="The run s-001 exists with another "):
        sweep()
    assert not (tmp_path / "runs" / "s" / SWEEP_FILE).exists()
