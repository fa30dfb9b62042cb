"""The best adapter of a run so far, by its loss on the evaluation rows; it travels inside of every checkpoint."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file

from train.adapter_weights import give_adapter, whole_adapter
from train.plan import BEST
from train.registry.layout import ADAPTER_FILES

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor

_WEIGHTS, _CONFIG = ADAPTER_FILES
_FACTS = "best.json"


@dataclass
class Best:
    """The best adapter, the same on every worker.

    Attributes:
        loss: Its evaluation loss in nats per token.
        step: After which it was so good; 0: none was measured, or none had a loss that is a number.
        behind: Checkpoints since then.
    """

    loss: float = math.inf
    step: int = 0
    behind: int = 0
    _weights: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> Best:
        """Read what a checkpoint brings; nothing where it was made without."""
        folder = checkpoint / BEST
        if not (folder / _FACTS).is_file():
            return cls()
        facts = json.loads((folder / _FACTS).read_text())
        return cls(facts["loss"], facts["step"], facts["behind"], load_file(folder / _WEIGHTS))

    def offer(self, model: PeftModel, *, loss: float, step: int) -> None:
        """Hear of the adapter after a step, which is kept if it is better."""
        if loss < self.loss:
            self.loss, self.step, self.behind = loss, step, 0
            self._weights = whole_adapter(model)
        else:
            self.behind += 1

    def save(self, checkpoint: Path) -> None:
        """Put it into a checkpoint, beside the adapter of the last step; nothing where there is none."""
        if not self.step:
            return
        folder = checkpoint / BEST
        folder.mkdir(parents=True)
        save_file(self._weights, folder / _WEIGHTS, metadata={"format": "pt"})
        shutil.copyfile(checkpoint / _CONFIG, folder / _CONFIG)
        facts = {"loss": self.loss, "step": self.step, "behind": self.behind}
        (folder / _FACTS).write_text(json.dumps(facts))

    def restore(self, model: PeftModel) -> None:
        """Give it back to the model, which stays as it is where there is none."""
        if self.step:
            give_adapter(model, self._weights)
