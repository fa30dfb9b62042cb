from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from train.adapter_weights import give_adapter, whole_adapter


def _adapted(base: Path, *, shared_out: bool) -> PeftModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    if shared_out:
        for layer in model.model.layers:
            fully_shard(layer)
        fully_shard(adapted)
    return adapted.eval()


def _scores(model: PeftModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(100, 140)[None]).logits
    return found


@pytest.mark.parametrize("shared_out", [False, True])
def test_an_adapter_comes_out_whole_and_goes_back(
    tiny_base_folder: Path, process_group: None, shared_out: bool
) -> None:
    model = _adapted(tiny_base_folder, shared_out=shared_out)
    assert any(isinstance(each, DTensor) for each in model.parameters()) is shared_out
    begun, before = whole_adapter(model), _scores(model)
    assert not any(isinstance(tensor, DTensor) for tensor in begun.values())
    give_adapter(model, {name: torch.zeros_like(tensor) for name, tensor in begun.items()})
    assert (_scores(model) - before).abs().max() > 0.01
    assert all(tensor.any() for tensor in begun.values())
    give_adapter(model, begun)
    assert torch.equal(_scores(model), before)


def test_what_comes_out_is_what_a_whole_model_holds(tiny_base_folder: Path, process_group: None) -> None:
    plain, shared = (whole_adapter(_adapted(tiny_base_folder, shared_out=each)) for each in (False, True))
    assert plain.keys() == shared.keys()
    assert all(torch.equal(plain[name], tensor) for name, tensor in shared.items())
