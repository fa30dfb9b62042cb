"""Our grouped adapter arithmetic on CPU against vLLM's own, for one layer of SmolLM2-135M's size."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform

from serve.cpu_lora import GroupedLora

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(not current_platform.is_cpu(), reason="the engine is vLLM's GPU build"),
]

INPUTS, RANK, SLOTS = 576, 16, 4
SLICES = (576, 192, 192)  # q, k and v
IDS = (7, 9, 11)  # adapters in the slots
ROUNDS = 15
# Rows of a batch -> their adapters: a prompt of one request, three prompts, and a step of sixteen requests.
BATCHES: Mapping[str, Sequence[int]] = {
    "prompt of 600 tokens, 1 adapter": [7] * 600,
    "prompts of 200 tokens, 3 adapters": [7] * 200 + [9] * 200 + [11] * 200,
    "decode of 16 requests, 3 adapters": list(islice(cycle(IDS), 16)),
    "decode of 1 request": [7],
}


def test_one_layer(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (name, median_ms(PunicaWrapperCPU, adapters), median_ms(GroupedLora, adapters))
        for name, adapters in BATCHES.items()
    ]
    with capsys.disabled():
        print(f"\n\nq, k and v of one layer in bfloat16, rank {RANK}, {os.cpu_count()} CPUs, medians of {ROUNDS}, ms")
        print(f"{'batch':34}  {'vLLM':>8}  {'ours':>8}  {'ratio':>6}")
        for name, theirs, ours in rows:
            print(f"{name:34}  {theirs:8.3f}  {ours:8.3f}  {theirs / ours:6.1f}")
    assert all(ours < theirs for name, theirs, ours in rows if name.startswith("prompt"))


def median_ms(wrapper_class: type[PunicaWrapperCPU], adapters: Sequence[int]) -> float:
    """Median milliseconds in which a wrapper reads a batch's mapping and adds its adapters."""
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(torch.bfloat16)

    a = tuple(random(SLOTS, 1, RANK, INPUTS) for _ in SLICES)
    b = tuple(random(SLOTS, 1, width, RANK) for width in SLICES)
    x, y = random(len(adapters), INPUTS), random(len(adapters), sum(SLICES))
    wrapper = wrapper_class(1024, 64, torch.device("cpu"), max_loras=SLOTS)
    mapping = LoRAMapping(tuple(adapters), tuple(adapters), is_prefill=len(adapters) > 16)
    taken: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        wrapper.update_metadata(mapping, [*IDS, None], SLOTS, 49152)
        wrapper.add_lora_linear(y, x, a, b, 1.0, SLICES)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)
