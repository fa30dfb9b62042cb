"""Bootstrap intervals: how far a figure would move if other questions of the same kind had been asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
LEVEL = 0.95
SEED = 20240301

Statistic = Literal["mean", "median"]
_STATISTICS: dict[Statistic, Callable[..., NDArray[np.float64]]] = {"mean": np.mean, "median": np.median}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Attributes:
        value: Mean or median of the sample.
        low: Lower end of the 95% percentile interval.
        high: Upper end.
        n: Size of the sample.
    """

    value: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval; for differences."""
        return self.low > 0 or self.high < 0


def estimate(
    sample: Sequence[float], *, statistic: Statistic = "mean", resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate | None:
    """The mean or median of a sample with its percentile bootstrap interval; None for an empty sample.

    The same sample and seed give the same interval.
    """
    if not sample:
        return None
    values = np.asarray(sample, dtype=np.float64)
    function = _STATISTICS[statistic]
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), size=(resamples, len(values)))]
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(function(drawn, axis=1), [tail, 100 - tail])
    value = float(function(values))
    # Rounding alone can put equal values a hair outside.
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), n=len(values))


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate | None:
    """The mean of `second - first` over the same questions, with its interval; None for empty samples.

    Questions are resampled, not answers, so that what makes a question hard for both arms cancels out.

    Raises:
        ValueError: The samples differ in length.
    """
    differences = [after - before for before, after in zip(first, second, strict=True)]
    return estimate(differences, resamples=resamples, seed=seed)
