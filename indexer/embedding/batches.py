"""Which texts go through the model together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

# Positions of the texts of one forward pass.
Batch = tuple[int, ...]


def token_batches(lengths: Sequence[int], *, budget: int) -> tuple[Batch, ...]:
    """Group texts so that a forward pass holds at most `budget` tokens, padding counted.

    Texts of like length stand together, because a shorter one is padded to the longest of its pass; the longest come
    first, so that memory that does not suffice is noticed at once. A text over the budget goes alone.

    Args:
        lengths: Tokens of each text.
        budget: Most tokens of a pass.

    Returns:
        Positions of the texts, each once.
    """
    batches: list[Batch] = []
    batch: list[int] = []
    longest = 0
    for position in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        longest = longest or max(1, lengths[position])
        if batch and (len(batch) + 1) * longest > budget:
            batches.append(tuple(batch))
            batch, longest = [], max(1, lengths[position])
        batch.append(position)
    if batch:
        batches.append(tuple(batch))
    return tuple(batches)
