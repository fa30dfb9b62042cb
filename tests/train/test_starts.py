"""Adapters that begin with a part of the base model: what is published is plain LoRA on the base as it was."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.train.workshop import write_rows_of_spans
from train.prepare import prepare_run
from train.settings import TrainSettings
from train.sft import GraftTrainer
from train.starts import START, Start, changes_base, make_plain, served_rank
from train.types import TrainRequest
from train.worker import build_trainer

RANK = 4
_ANYHOW = {"lora_alpha": 0, "target_modules": []}


@pytest.mark.parametrize(
    ("start", "changes"),
    [("pissa", True), ("pissa_niter_4", True), ("olora", True), ("pissa_niter_x", False), ("gaussian", False)],
)
def test_starts_that_change_the_base_are_known(start: str, changes: bool) -> None:
    assert changes_base(start) is changes
    assert served_rank(RANK, start=start) == (2 * RANK if changes else RANK)
    assert not changes_base(None)


def _trainer(base: Path, folder: Path, *, start: str, use_rslora: bool = False) -> GraftTrainer:
    settings = TrainSettings(
        base_model=str(base),
        storage_path=folder / "runs",
        workers=1,
        dtype="float32",
        rank=RANK,
        learning_rate=1e-3,
        use_rslora=use_rslora,
        max_steps=3,
        general_dataset=[],
        lora={"init_lora_weights": start},
    )
    rows = write_rows_of_spans(folder / "rows.jsonl", range(8))
    run = prepare_run(TrainRequest(datasets=(str(rows),), name="agro"), settings=settings)
    return build_trainer(run.plan, run.rows, share=lambda: 0.0, scratch=folder)


def _scores(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.arange(100, 160)[None]).logits[0]
    return found


@pytest.mark.parametrize(("start", "use_rslora"), [("pissa", True), ("pissa_niter_4", False), ("olora", False)])
def test_a_published_adapter_is_the_trained_one_on_the_base_as_it_was(
    tiny_base_folder: Path, process_group: None, tmp_path: Path, start: str, use_rslora: bool
) -> None:
    trainer = _trainer(tiny_base_folder, tmp_path, start=start, use_rslora=use_rslora)
    model = trainer.model
    begun = Start.of(model)
    assert begun is not None
    trainer.train()
    model.save_pretrained(tmp_path / "raw")
    begun.save(tmp_path)
    shutil.copytree(tmp_path / "raw", tmp_path / "plain")
    make_plain(tmp_path / "plain", start=tmp_path / START)

    base = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32")
    untouched, trained = _scores(base), _scores(model)
    assert (trained - untouched).abs().max() > 0.05
    served = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "plain"))
    assert torch.allclose(_scores(served), trained, atol=1e-4)
    with begun.in_place(model):
        assert torch.allclose(_scores(model), untouched, atol=1e-4)
    assert torch.equal(_scores(model), trained)

    # As PEFT converts in the loaded model; and the adapter as it was trained does not fit the base as it was.
    place = tmp_path / "initial"
    shutil.copytree(tmp_path / "raw", place)
    shutil.copyfile(tmp_path / START, place / "adapter_model.safetensors")
    model.save_pretrained(tmp_path / "peft", path_initial_model_for_weight_conversion=str(place))
    ours, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("plain", "peft"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    told = {
        name: json.loads((tmp_path / name / "adapter_config.json").read_text()) for name in ("plain", "peft", "raw")
    }
    assert told["plain"]["lora_alpha"] == pytest.approx(told["peft"]["lora_alpha"])
    # The modules' names come out of a set.
    assert told["plain"] | _ANYHOW == told["peft"] | _ANYHOW
    (tmp_path / "raw" / "adapter_config.json").write_text(json.dumps(told["raw"] | {"init_lora_weights": True}))
    raw = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "raw"))
    assert (_scores(raw) - trained).abs().max() > 0.05


def test_a_checkpoint_with_another_start_is_refused(
    tiny_base_folder: Path, process_group: None, tmp_path: Path
) -> None:
    begun = Start.of(_trainer(tiny_base_folder, tmp_path, start="olora").model)
    assert begun is not None
    begun.save(tmp_path)
    begun.check_same(tmp_path)
    name = next(iter(begun.weights))
    other = Start(begun.weights | {name: -begun.weights[name]})
    with pytest.raises(RuntimeError, match=f"began with other weights of {name} than this worker"):
        other.check_same(tmp_path)


def test_an_ordinary_start_is_not_remembered(tiny_base_folder: Path, process_group: None, tmp_path: Path) -> None:
    assert Start.of(_trainer(tiny_base_folder, tmp_path, start="gaussian").model) is None
