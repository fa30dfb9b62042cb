"""Adapters whose start changes the base model, and what makes plain LoRA of them.

PiSSA and OLoRA take their start A0, B0 out of a base weight W: training goes on from W - s B0 A0, and what is learned,
s (B A - B0 A0), has twice the rank. PEFT converts so in a loaded model (`path_initial_model_for_weight_conversion`);
here the start travels inside of every checkpoint instead, so that what is published can be made of two files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from train.registry.layout import ADAPTER_FILES

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

# File of a checkpoint that holds the adapter's start.
START = "start.safetensors"
_WEIGHTS, _CONFIG = ADAPTER_FILES
_CHANGING = re.compile(r"pissa(_niter_\d+)?|olora")
# Two starts of the same base are alike to this share of the largest weight.
_ALIKE = 1e-3


def changes_base(start: JsonValue) -> bool:
    """Return whether a value of `init_lora_weights` takes the start out of the base model's weights."""
    return isinstance(start, str) and _CHANGING.fullmatch(start) is not None


def served_rank(rank: int, *, start: JsonValue) -> int:
    """Return the rank that an adapter has when it is published."""
    return 2 * rank if changes_base(start) else rank


@dataclass(frozen=True)
class Start:
    """Where an adapter began.

    Attributes:
        weights: Its tensors by PEFT's names.
    """

    weights: dict[str, Tensor]

    @classmethod
    def of(cls, model: PeftModel) -> Start | None:
        """Remember where a model that was not trained yet begins; None where its base is as it was."""
        from train.adapter_weights import whole_adapter

        return cls(whole_adapter(model)) if changes_base(model.peft_config["default"].init_lora_weights) else None

    def check_same(self, checkpoint: Path) -> None:
        """See that a checkpoint began here, too; its adapter fits no other start.

        Raises:
            RuntimeError: It did not: another machine took another start out of the same weights.
        """
        from safetensors.torch import load_file

        theirs = load_file(checkpoint / START)
        for name, ours in self.weights.items():
            if (ours - theirs[name]).abs().max() > _ALIKE * ours.abs().max():
                raise RuntimeError(
                    f"The checkpoint {checkpoint} began with other weights of {name} than this worker; go on with it "
                    "on the machine where it began, or begin anew under another run name."
                )

    def save(self, checkpoint: Path) -> None:
        """Put it into a checkpoint."""
        from safetensors.torch import save_file

        save_file(self.weights, checkpoint / START, metadata={"format": "pt"})

    @contextmanager
    def in_place(self, model: PeftModel) -> Iterator[None]:
        """Give the model its start, with which it is the base model as it was, for a while."""
        from train.adapter_weights import give_adapter, whole_adapter

        learned = whole_adapter(model)
        give_adapter(model, self.weights)
        try:
            yield
        finally:
            give_adapter(model, learned)


def make_plain(adapter: Path, *, start: Path) -> None:
    """Make an adapter plain LoRA of twice the rank, on the base model as it was.

    Args:
        adapter: Folder of the adapter, whose files are replaced.
        start: Its START file.
    """
    import torch
    from safetensors.torch import load_file, save_file

    learned, begun = load_file(adapter / _WEIGHTS), load_file(start)
    plain = {
        name: torch.cat([tensor, begun[name]], dim=0)
        if name.endswith(".lora_A.weight")
        else torch.cat([tensor, -begun[name]], dim=1)
        for name, tensor in learned.items()
    }
    save_file({name: tensor.contiguous() for name, tensor in plain.items()}, adapter / _WEIGHTS)
    fields = json.loads((adapter / _CONFIG).read_bytes())
    # The scale is alpha / rank, or alpha / sqrt(rank): it stays what it was.
    factor = math.sqrt(2) if fields["use_rslora"] else 2
    changed = {"r": 2 * fields["r"], "lora_alpha": factor * fields["lora_alpha"], "init_lora_weights": True}
    (adapter / _CONFIG).write_text(json.dumps(fields | changed, indent=2, sort_keys=True) + "\n")
