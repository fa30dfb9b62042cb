"""Training or evaluation: decided for a document as a whole, by its id and the seed. Pure.

Passages that stand in a row are of the same side as the row, so that no document is on both.
"""

from __future__ import annotations

from collections.abc import Sequence

from indexer.passages import Passage
from train.examples.choosing import draw
from train.examples.types import Side


def side_of(document_id: str, *, seed: int, share: float) -> Side:
    """Return the side of a document.

    Args:
        document_id: The document.
        seed: Of the draw.
        share: Of documents that are for evaluation, 0 to below 1.
    """
    return "evaluation" if draw(seed, "side", document_id) < share else "training"


def on_side(
    passages: Sequence[Passage], side: Side, *, golden: Passage, seed: int, share: float
) -> tuple[Passage, ...]:
    """Return the passages of documents on a side, in their order, each text once; a copy of the golden one never.

    Args:
        passages: What was found.
        side: The side.
        golden: The chunk that the question was made from.
        seed: As in `side_of`.
        share: As in `side_of`.
    """
    kept: dict[str, Passage] = {}
    for passage in passages:
        text = passage.text.strip()
        if text == golden.text.strip() and passage.chunk_id != golden.chunk_id:
            continue
        if side_of(passage.document_id, seed=seed, share=share) == side:
            kept.setdefault(text, passage)
    return tuple(kept.values())
