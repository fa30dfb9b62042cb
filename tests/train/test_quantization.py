"""QLoRA: the base in 4 bits while it is trained on, the adapter for the base as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.train.workshop import loss_on, write_rows_of_spans
from train.prepare import prepare_run
from train.registry.checks import check_tensors
from train.settings import TrainSettings
from train.tensor_headers import read_tensor_headers
from train.trial import run_trial
from train.types import TrainRequest
from train.worker import build_trainer

bitsandbytes = pytest.importorskip("bitsandbytes", reason="pip install bitsandbytes: QLoRA is tried with it")

RANK, STEPS = 4, 6


@pytest.mark.slow
def test_an_adapter_learned_on_four_bits_fits_the_base_as_it_is(
    tiny_base_folder: Path, process_group: None, tmp_path: Path
) -> None:
    dataset = write_rows_of_spans(tmp_path / "rows.jsonl", range(8))
    settings = TrainSettings(
        base_model=str(tiny_base_folder),
        storage_path=tmp_path / "runs",
        workers=1,
        rank=RANK,
        learning_rate=1e-2,
        epochs=STEPS,
        gradient_accumulation=8,
        quantization="nf4",
        general_dataset=[],
    )
    run = prepare_run(TrainRequest(datasets=(str(dataset),), name="agro"), settings=settings)
    trainer = build_trainer(run.plan, run.rows, share=lambda: 0.0, scratch=tmp_path)
    layers = trainer.model.base_model.model.model.layers
    assert isinstance(layers[0].mlp.up_proj.base_layer, bitsandbytes.nn.Linear4bit)
    assert layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    trainer.train()
    trainer.model.save_pretrained(tmp_path / "adapter")
    tensors = read_tensor_headers(tmp_path / "adapter" / "adapter_model.safetensors")
    check_tensors(tensors, rank=RANK, base=run.base)
    base = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32")
    before = loss_on(base, dataset)
    after = loss_on(PeftModel.from_pretrained(base, str(tmp_path / "adapter")), dataset)
    assert after < before - 0.2

    trial = run_trial(run.plan, run.rows)
    whole = sum(each.numel() for each in AutoModelForCausalLM.from_pretrained(tiny_base_folder).parameters())
    assert trial.base_parameters == whole
