"""What a reranker is, and how its scores and those of the first ranking are put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InputError
from indexer.fusion import stretched
from indexer.passages import Passage

RerankBy = Literal["model", "maxsim"]

MAX_DEPTH = 200  # what each search is asked for; see `indexer.search.CANDIDATES`


class Reranker(Protocol):
    """Judges texts with the question at hand, at the price of a forward pass per text."""

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a score for each text, higher is better, of shape [len(texts)]; comparable within one call only."""
        ...


@dataclass(frozen=True, slots=True)
class Rerank:
    """How the head of a ranking is ordered anew.

    Attributes:
        by: What looks again: `model` is the cross-encoder of the settings, `maxsim` the words of the embedder.
        depth: Passages that are looked at again, 1 to 200; before sections have their say, the rest stays after them.
        weight: Share of the reranker in a passage's score, 0 to 1; the rest is the first ranking's.

    Raises:
        InputError: The depth or the weight is out of range.
    """

    by: RerankBy
    depth: int = 20
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise InputError(f"The depth of reranking is {self.depth}; give 1 to {MAX_DEPTH}.")
        if not 0.0 <= self.weight <= 1.0:
            raise InputError(f"The weight of reranking is {self.weight}; give 0.0 (first ranking alone) to 1.0.")


def rerank_text(passage: Passage) -> str:
    """Return what a reranker reads of a passage: title and headings, then the text."""
    return f"{' > '.join(passage.places)}\n\n{passage.text}" if passage.places else passage.text


def mix(
    passages: Sequence[Passage], scores: NDArray[np.float32] | Sequence[float], *, weight: float
) -> tuple[Passage, ...]:
    """Return a ranking whose head is ordered anew, with its new scores, 0 to 1.

    The reranker's scores are stretched so that the best of the head has 1 and the last 0; what it did not look at has 0
    and so stays after the head.

    Args:
        passages: The first ranking, best first, its scores 0 to 1.
        scores: The reranker's, of the first `len(scores)` passages.
        weight: Share of the reranker, 0 to 1.
    """
    second = [*stretched([float(score) for score in scores]), *[0.0] * (len(passages) - len(scores))]
    mixed = [
        replace(passage, score=(1.0 - weight) * passage.score + weight * other)
        for passage, other in zip(passages, second, strict=True)
    ]
    return tuple(sorted(mixed, key=lambda passage: -passage.score))  # stable: equals stay in their order
