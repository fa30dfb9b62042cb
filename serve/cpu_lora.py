"""Adapters on CPU: one pair of matrix products per adapter of a batch, and none for rows without one.

vLLM 0.29 copies the adapter's matrices once per token there, in float32 (vllm/lora/ops/torch_ops/lora_ops.py). With a
rank of 16 on SmolLM2-135M that made a prompt several times slower than without an adapter, and rows without an adapter
were given the last slot's (vllm-project/vllm pull 48421). It does so in front of the logits, too, whether an adapter
changes them or not: with 49,152 tokens of a vocabulary that was nine tenths of a small model's step.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

Rows: TypeAlias = slice | torch.Tensor


class GroupedLora(PunicaWrapperCPU):
    """vLLM's wrapper with its linear layers done by groups of rows that share an adapter."""

    _groups: tuple[tuple[int, Rows], ...] = ()
    _sampled: tuple[tuple[int, Rows], ...] = ()

    def update_metadata(self, *args: object, **kwargs: object) -> None:
        """Take the next batch's mapping; arguments as vLLM passes them."""
        super().update_metadata(*args, **kwargs)
        self._groups = group_rows(self.token_lora_indices)
        self._sampled = group_rows(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: object,
    ) -> None:
        """Add every row's adapter to `y`, in place.

        Args:
            y: Output of the layer, (tokens, sum of `output_slices`).
            x: Input of the layer, (tokens, inputs).
            lora_a_stacked: Per slice all slots' first matrices, (slots, 1, rank, inputs).
            lora_b_stacked: Per slice all slots' second matrices, (slots, 1, outputs, rank).
            scale: Factor of the product.
            output_slices: Widths of the slices, such as those of q, k and v.
        """
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        for slot, rows in self._groups:
            given = x[rows]
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                inner = given @ a[slot, 0].T
                y[rows, start : start + width] += (inner * scale) @ b[slot, 0].T
                start += width

    def add_lora_embedding(
        self, y: torch.Tensor, x: torch.Tensor, lora_b_stacked: torch.Tensor, add_inputs: bool = True, **_: object
    ) -> None:
        """Add to the embeddings what adapters change of them, in place; most adapters change nothing there.

        Args:
            y: The embeddings, (tokens, hidden size).
            x: The tokens' rows of the first matrices, (tokens, rank); zeros where nothing is changed.
            lora_b_stacked: All slots' second matrices, (slots, 1, hidden size, rank).
            add_inputs: Whether to add, as vLLM always does.
        """
        assert add_inputs
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        for slot, rows in self._groups:
            if (inner := x[rows]).any():
                y[rows] += inner @ lora_b_stacked[slot, 0].T

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        **kwargs: object,
    ) -> None:
        """Add to the logits what adapters change of them, in place; most adapters change nothing there.

        Args:
            y: The logits, (rows, tokens of the vocabulary).
            x: Hidden states, (rows, hidden size).
            lora_a_stacked: All slots' first matrices, (slots, 1, rank, hidden size); zeros where nothing is changed.
            lora_b_stacked: All slots' second matrices, (slots, 1, tokens of the vocabulary, rank).
            scale: Factor of the product.
            kwargs: What else vLLM passes.
        """
        changing = [(slot, rows) for slot, rows in self._sampled if lora_a_stacked[slot].any()]
        if not changing:
            return
        x, y = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        if len(x) != len(self.sampler_indices):  # a prompt's own logits, whose rows vLLM alone can tell
            super().add_lora_logits(y, x, lora_a_stacked, lora_b_stacked, scale, **kwargs)
            return
        for slot, rows in changing:
            inner = x[rows] @ lora_a_stacked[slot, 0].T
            added = (inner * scale) @ lora_b_stacked[slot, 0].T
            width = min(y.shape[-1], added.shape[-1])
            y[rows, :width] += added[:, :width]


def group_rows(slots: torch.Tensor) -> tuple[tuple[int, Rows], ...]:
    """The rows of each slot: a slice where they follow each other, else their positions.

    Args:
        slots: Slot of every row, (tokens,); -1 for rows without an adapter, which are in no group.
    """
    values, counts = torch.unique_consecutive(slots, return_counts=True)
    runs: dict[int, list[slice]] = {}
    start = 0
    for slot, count in zip(values.tolist(), counts.tolist(), strict=True):
        if slot >= 0:
            runs.setdefault(slot, []).append(slice(start, start + count))
        start += count
    return tuple(
        (slot, parts[0] if len(parts) == 1 else torch.cat([torch.arange(part.start, part.stop) for part in parts]))
        for slot, parts in runs.items()
    )
