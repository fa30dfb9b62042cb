"""Refuses to pack rows for a model that would let one of them see another.

transformers tells packed rows apart by positions that begin again, but only a model that asks it for its masks is told;
a state that runs along a sequence knows no borders. What the configuration shows is refused before a run, and the
loaded model is tried on two rows before its first step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback

from indexer.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, TrainerControl, TrainerState, TrainingArguments

# Kinds of layers (transformers' `layer_types`) whose mask transformers makes.
_MASKED_LAYERS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})
_MASK_MAKER = "create_causal_mask"
# A model mixes rows where packing changes a row's outputs by more than this share of what no border at all does. In
# bfloat16 rounding alone makes 0.01 of it in a model of two layers with random weights, in float32 a millionth.
_MIXED = 0.1
_PROBE_TOKENS = 16


def check_masks_are_known(folder: Path, *, name: str) -> None:
    """Refuse a base model whose code shows that packed rows would see each other.

    Args:
        folder: Its checkpoint.
        name: What it is called.

    Raises:
        InputError: It has a state that runs along the sequence (`_is_stateful`), layers of another kind than attention
            (`layer_types`), or code that does not take its masks from transformers (`create_causal_mask`).
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    foreign = sorted(set(getattr(config.get_text_config(), "layer_types", None) or ()) - _MASKED_LAYERS)
    problems = (
        (model_class._is_stateful, "carries a state from token to token"),
        (bool(foreign), f"has layers of {', '.join(foreign)}"),
        (not hasattr(sys.modules[model_class.__module__], _MASK_MAKER), "does not take its masks from transformers"),
    )
    if found := [text for wrong, text in problems if wrong]:
        raise InputError(
            f"The base model {name} cannot learn packed rows: it {' and '.join(found)}, so that they would see each "
            "other; set train.packing to false."
        )


def mixed_share(model: Callable[..., object], *, vocabulary: int, device: torch.device | str = "cpu") -> float:
    """Return how much of a row's outputs another row in its sequence reaches: 0 none of it, 1 as without a border.

    Args:
        model: A causal language model that is not training.
        vocabulary: How many tokens it knows.
        device: Where its inputs go.
    """
    import torch

    first, second = (
        (torch.arange(_PROBE_TOKENS, device=device) * step + 1) % vocabulary for step in (vocabulary // 7, 31)
    )
    positions = torch.arange(_PROBE_TOKENS, device=device).repeat(2)[None]
    both = torch.cat([first, second])[None]

    def scores(**inputs: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(use_cache=False, **inputs).logits  # type: ignore[attr-defined]
        return found[0, -_PROBE_TOKENS:].float()

    alone = scores(input_ids=second[None])
    through = (scores(input_ids=both) - alone).norm()
    return float((scores(input_ids=both, position_ids=positions) - alone).norm() / through.clamp(min=1e-12))


class ApartCheck(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Tries the loaded model on two packed rows before the first step."""

    def __init__(self, *, name: str) -> None:
        """Take what the base model is called."""
        self._name = name

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **_: object,
    ) -> None:
        """Stop a run whose rows would mix.

        Raises:
            InputError: The model mixes them.
        """
        del state, control
        model.eval()
        share = mixed_share(model, vocabulary=model.config.get_text_config().vocab_size, device=args.device)
        model.train()
        if share > _MIXED:
            raise InputError(
                f"The base model {self._name} lets packed rows see each other: {share:.0%} of what runs on without a "
                "border shows in a packed row; set train.packing to false."
            )
