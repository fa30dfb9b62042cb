"""Which rows an epoch has, where sources have weights. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def mixed(sizes: Sequence[int], weights: Sequence[float], *, seed: int) -> list[tuple[int, int]]:
    """Choose the rows of an epoch.

    A row of a source with weight 2.5 is there twice, and half of them a third time; which half is drawn by the seed,
    for each source apart, so that another source beside it changes nothing.

    Args:
        sizes: Rows of each source.
        weights: Above 0, one for each source.
        seed: Of the draw.

    Returns:
        Places: (source, row), in the order of the sources and of their rows.
    """
    places: list[tuple[int, int]] = []
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True)):
        whole, rest = divmod(weight, 1.0)
        drawn = np.random.default_rng([seed, number]).permutation(size)[: round(rest * size)]
        once_more = set(drawn.tolist())
        for row in range(size):
            places += [(number, row)] * (int(whole) + (row in once_more))
    return places
