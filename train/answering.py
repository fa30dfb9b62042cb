"""Which rows a model answers in words, what of them it is asked, and what that costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train.reserve import ForwardWork


def last_answer(
    ids: NDArray[np.int32], supervised: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
    """Split a row at its last answer.

    Args:
        ids: Tokens of the row, [tokens].
        supervised: Which of them are learned, [tokens].

    Returns:
        What stands before the last run of learned tokens, and that run; None where nothing stands before it.
    """
    places = np.flatnonzero(supervised)
    if not len(places):
        return None
    breaks = np.flatnonzero(np.diff(places) > 1)
    begin = int(places[breaks[-1] + 1]) if len(breaks) else int(places[0])
    return (ids[:begin], ids[begin : int(places[-1]) + 1]) if begin else None


def answer_room(tokens: int) -> int:
    """Return how many tokens an answer may have where the row's own has `tokens`; a longer one overlaps little."""
    return 2 * tokens + 8


def answered_rows(rows: int, *, most: int) -> Sequence[int]:
    """Which of so many rows are answered: `most` of them at most, spread evenly."""
    count = min(most, rows)
    return [number * rows // count for number in range(count)]


def answering_work(rows: Sequence[tuple[NDArray[np.int32], NDArray[np.bool_]]]) -> ForwardWork:
    """What it takes at most to answer rows: a pass over every question, and one for every token that is written."""
    split = [parts for parts in (last_answer(*row) for row in rows) if parts is not None]
    written = [answer_room(len(answer)) for _, answer in split]
    return ForwardWork(passes=len(split) + sum(written), tokens=sum(len(prompt) for prompt, _ in split) + sum(written))
