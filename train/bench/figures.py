"""What was measured, and the ratios that it gives. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# The ways to train the same steps: through Ray Train, our trainer in a process of its own, and TRL's own there.
RAY, ALONE, TRL = "ray", "alone", "trl"


@dataclass(frozen=True, slots=True)
class Speed:
    """One way to train the steps.

    Attributes:
        startup_s: Seconds to the first step: processes, imports, the base model.
        tokens_per_s: Tokens read in a second, the median of the steps but the first.
    """

    startup_s: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """All runs of a measurement.

    Attributes:
        steps: Optimiser steps of each run.
        tokens: Tokens that they read.
        runs: The runs of each way, in their order.
        ratios: Tokens/s through Ray against each way without, the median over rounds.
    """

    steps: int
    tokens: int
    runs: dict[str, tuple[Speed, ...]]
    ratios: dict[str, float]


def measured(runs: dict[str, tuple[Speed, ...]], *, steps: int, tokens: int) -> Measured:
    """Put rounds together; a ratio is between runs of the same round, for a machine is not as fast in each."""
    ratios = {
        f"{RAY}/{way}": statistics.median(
            ours.tokens_per_s / theirs.tokens_per_s for ours, theirs in zip(runs[RAY], runs[way], strict=True)
        )
        for way in (ALONE, TRL)
    }
    return Measured(steps=steps, tokens=tokens, runs=runs, ratios=ratios)


def median_speed(ends: Sequence[float], tokens: Sequence[int]) -> float:
    """Tokens/s of the median step but the first.

    Args:
        ends: When each step ended, in seconds.
        tokens: Tokens read up to and including each step.
    """
    return statistics.median(
        (read - before) / (end - begin)
        for (before, read), (begin, end) in zip(itertools.pairwise(tokens), itertools.pairwise(ends), strict=True)
    )
