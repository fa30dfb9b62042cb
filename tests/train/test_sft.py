from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.slow
def test_our_loss_is_trls_loss(tiny_base_folder: Path) -> None:
    """Scoring supervised positions only gives the loss and the gradients of scoring all of them."""
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    from train.sft import supervised_nll

    torch.manual_seed(0)
    input_ids = torch.randint(10, 40_000, (3, 50))
    labels = input_ids.clone()
    labels[0, :40], labels[1, :20], labels[1, 30:], labels[2, :] = -100, -100, -100, -100
    labels[2, 7] = input_ids[2, 7]
    inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": labels}

    gradients, losses = [], []
    for ours in (True, False):
        model = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=torch.float32)
        if ours:
            total, count = supervised_nll(model, inputs)
            assert int(count) == (labels[:, 1:] != -100).sum() == 10 + 10 + 1
            loss = total / count
        else:
            add_fused_lm_head(model)
            loss = model(**inputs, fused_lm_head=True).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append(model.model.layers[0].mlp.up_proj.weight.grad)
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
