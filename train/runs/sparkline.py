"""The loss of a run as a line of text. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from train.types import TrainProgress

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(progress: Sequence[TrainProgress], *, width: int = 60) -> str:
    """Draw the loss as at most `width` block characters, each the mean of its share of the reports."""
    losses = [each.loss for each in progress if math.isfinite(each.loss)]
    count = min(width, len(losses))
    shares = [losses[len(losses) * place // count : len(losses) * (place + 1) // count] for place in range(count)]
    means = [math.fsum(share) / len(share) for share in shares]
    if not means:
        return ""
    low, span = min(means), max(means) - min(means)
    return "".join(_BLOCKS[round((mean - low) / span * (len(_BLOCKS) - 1)) if span else 0] for mean in means)
