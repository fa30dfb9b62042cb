"""Our adapter arithmetic against vLLM's own on the same batch."""

from __future__ import annotations

import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform

from serve.cpu_lora import GroupedLora, group_rows
from serve.vllm_plugin import register

SLICES = (6, 4, 4)
RANK, INPUTS, SLOTS = 8, 10, 3


def added(wrapper_class, adapters, *, prefill):
    """What a wrapper adds to zeros for rows with these adapter ids (0: none); slot 0 holds id 7, slot 1 id 9."""
    generator = torch.Generator().manual_seed(5)
    a = tuple(torch.randn(SLOTS, 1, RANK, INPUTS, generator=generator) for _ in SLICES)
    b = tuple(torch.randn(SLOTS, 1, width, RANK, generator=generator) for width in SLICES)
    x = torch.randn(len(adapters), INPUTS, generator=generator)
    wrapper = wrapper_class(64, 16, torch.device("cpu"), max_loras=SLOTS)
    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=prefill)
    wrapper.update_metadata(mapping, [7, 9, None], SLOTS, 100)
    y = torch.zeros(len(adapters), sum(SLICES))
    wrapper.add_lora_linear(y, x, a, b, 0.5, SLICES)
    return y


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize("adapters", [[7] * 5, [7, 7, 9, 9, 9], [9, 7, 9, 7, 7, 9], [7]])
def test_every_row_gets_what_vllm_would_add(adapters, prefill):
    ours = added(GroupedLora, adapters, prefill=prefill)
    assert ours.abs().min() > 0
    torch.testing.assert_close(ours, added(PunicaWrapperCPU, adapters, prefill=prefill))


@pytest.mark.parametrize("prefill", [True, False])
def test_rows_without_an_adapter_stay_as_they_are(prefill):
    mixed = added(GroupedLora, [0, 7, 0, 9, 7, 0], prefill=prefill)
    assert not mixed[[0, 2, 5]].any()
    torch.testing.assert_close(
        mixed[[1, 3, 4]], added(PunicaWrapperCPU, [0, 7, 0, 9, 7, 0], prefill=prefill)[[1, 3, 4]]
    )
    assert not added(GroupedLora, [0, 0], prefill=prefill).any()


def weights(rank=RANK, inputs=INPUTS, outputs=20):
    generator = torch.Generator().manual_seed(6)
    a = torch.randn(SLOTS, 1, rank, inputs, generator=generator)
    return a, torch.randn(SLOTS, 1, outputs, rank, generator=generator), generator


def mapped(wrapper_class, adapters, *, prefill=False):
    wrapper = wrapper_class(64, 16, torch.device("cpu"), max_loras=SLOTS)
    wrapper.update_metadata(LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=prefill), [7, 9, None], SLOTS, 100)
    return wrapper


def changed_logits(wrapper_class, adapters, a, b, x):
    y = torch.zeros(len(x), b.shape[-2] + 1)  # vLLM pads the vocabulary
    mapped(wrapper_class, adapters).add_lora_logits(y, x, a, b, 0.5)
    return y


@pytest.mark.parametrize("adapters", [[7] * 5, [7, 9, 7, 7, 9, 9], [9]])
def test_logits_get_what_vllm_would_add(adapters):
    a, b, generator = weights()
    x = torch.randn(len(adapters), INPUTS, generator=generator)
    ours = changed_logits(GroupedLora, adapters, a, b, x)
    assert ours[:, :-1].abs().min() > 0
    torch.testing.assert_close(ours, changed_logits(PunicaWrapperCPU, adapters, a, b, x))


def test_logits_of_other_rows_stay_as_they_are():
    a, b, generator = weights()
    a[1] = 0  # the adapter with id 9 does not change the logits
    x = torch.randn(4, INPUTS, generator=generator)
    mixed = changed_logits(GroupedLora, [0, 7, 9, 7], a, b, x)
    assert not mixed[[0, 2]].any()
    assert mixed[[1, 3], :-1].abs().min() > 0
    assert not changed_logits(GroupedLora, [0, 9, 9, 0], a, b, x).any()


def test_a_prompts_own_logits_get_what_vllm_would_add():
    a, b, generator = weights()
    x = torch.randn(6, INPUTS, generator=generator)
    ours = changed_logits(GroupedLora, [7], a, b, x)
    assert ours[:, :-1].abs().min() > 0
    torch.testing.assert_close(ours, changed_logits(PunicaWrapperCPU, [7], a, b, x))


@pytest.mark.parametrize("prefill", [True, False])
def test_embeddings_get_what_vllm_would_add(prefill):
    adapters = [7, 7, 9, 7]
    _, b, generator = weights()
    x = torch.randn(len(adapters), RANK, generator=generator)
    ours, theirs = torch.zeros(2, len(adapters), b.shape[-2])
    mapped(GroupedLora, adapters, prefill=prefill).add_lora_embedding(ours, x, b)
    mapped(PunicaWrapperCPU, adapters, prefill=prefill).add_lora_embedding(theirs, x, b)
    assert ours.abs().min() > 0
    torch.testing.assert_close(ours, theirs)
    untouched = torch.zeros(len(adapters), b.shape[-2])
    mapped(GroupedLora, [0, 0, 9, 9], prefill=prefill).add_lora_embedding(untouched, x * 0, b)
    assert not untouched.any()


def test_rows_that_follow_each_other_are_a_slice():
    groups = dict(group_rows(torch.tensor([1, 1, -1, 0, 1])))
    assert groups[0] == slice(3, 4)
    assert groups[1].tolist() == [0, 1, 4]


@pytest.mark.skipif(not current_platform.is_cpu(), reason="the engine is vLLM's GPU build")
def test_vllm_takes_ours_on_cpu():
    register()
    assert current_platform.get_punica_wrapper() == "serve.cpu_lora.GroupedLora"
