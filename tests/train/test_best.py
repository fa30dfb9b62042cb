"""The best adapter of a run, in memory and in a checkpoint."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM

from train.best import Best
from train.plan import BEST


def fill(model: PeftModel, value: float) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.fill_(value)


def values(model: PeftModel) -> set[float]:
    return {float(each) for tensor in get_peft_model_state_dict(model).values() for each in tensor.unique()}


def test_the_best_stays_while_others_come_and_travels_in_a_checkpoint(tiny_base_folder: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32")
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    best = Best()
    for step, (loss, value) in enumerate([(2.0, 0.5), (1.0, 0.25), (1.0, 0.75), (1.5, 0.125)], start=1):
        fill(model, value)
        best.offer(model, loss=loss, step=step)
    assert (best.loss, best.step, best.behind) == (1.0, 2, 2)

    model.save_pretrained(tmp_path / "checkpoint-4")
    best.save(tmp_path / "checkpoint-4")
    shutil.move(tmp_path / "checkpoint-4", tmp_path / "merged")
    read = Best.of_checkpoint(tmp_path / "merged")
    assert (read.loss, read.step, read.behind) == (1.0, 2, 2)
    assert values(model) == {0.125}
    read.restore(model)
    assert values(model) == {0.25}
    fresh = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32")
    served = PeftModel.from_pretrained(fresh, str(tmp_path / "merged" / BEST))
    assert values(served) == {0.25}


def test_a_loss_that_is_no_number_is_never_the_best(tiny_base_folder: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32")
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"]))
    best = Best()
    fill(model, 0.5)
    best.offer(model, loss=math.nan, step=1)
    assert (best.step, best.behind) == (0, 1)
    model.save_pretrained(tmp_path / "checkpoint-1")
    best.save(tmp_path / "checkpoint-1")
    assert not (tmp_path / "checkpoint-1" / BEST).exists()
    best.restore(model)
    assert values(model) == {0.5}


def test_a_checkpoint_without_one_brings_none(tmp_path: Path) -> None:
    assert Best.of_checkpoint(tmp_path).step == 0
