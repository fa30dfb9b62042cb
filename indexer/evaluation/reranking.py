"""What ordering the head of a ranking anew would bring: every depth and weight, from one look at each passage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.evaluation.measures import NDCG, measure, ranking
from indexer.evaluation.questions import Judged
from indexer.fusion import with_sections
from indexer.passages import Passage
from indexer.rerank.mixing import Rerank, RerankBy, mix

DEPTHS = (20, 50)  # in rising order
WEIGHTS = tuple(step / 5 for step in range(1, 6))


@dataclass(frozen=True, slots=True)
class Head:
    """A ranking with what a reranker says of its first passages.

    Attributes:
        question: Whose ranking it is.
        passages: What was found, best first, before sections had their say; scores 0 to 1.
        scores: The reranker's, of the first of them.
        ms: Milliseconds that they took, for each of DEPTHS.
    """

    question: Judged
    passages: tuple[Passage, ...]
    scores: NDArray[np.float32]
    ms: tuple[float, ...]


def look_again(
    question: Judged, passages: Sequence[Passage], *, judge: Callable[[str, Sequence[Passage]], NDArray[np.float32]]
) -> Head:
    """Have the head of a ranking judged, as far as the largest of DEPTHS, in parts whose times are kept."""
    scores: list[NDArray[np.float32]] = []
    ms: list[float] = []
    began = time.perf_counter()
    for start, end in zip((0, *DEPTHS), DEPTHS, strict=False):
        scores.append(judge(question.text, passages[start:end]))
        ms.append((time.perf_counter() - began) * 1000)
    return Head(question=question, passages=tuple(passages), scores=np.concatenate(scores), ms=tuple(ms))


def choose(heads: Sequence[Head], *, by: RerankBy, section_weight: float) -> tuple[Rerank, float]:
    """Return the depth and weight with the highest mean nDCG@10, and that; among equals the least of both."""
    choices = [Rerank(by=by, depth=depth, weight=weight) for depth in DEPTHS for weight in WEIGHTS]
    means = {rerank: sum(values(heads, rerank, section_weight=section_weight)[NDCG]) / len(heads) for rerank in choices}
    best = max(choices, key=lambda rerank: (round(means[rerank], 6), -rerank.depth, -rerank.weight))
    return best, means[best]


def values(heads: Sequence[Head], rerank: Rerank | None, *, section_weight: float) -> dict[str, list[float]]:
    """Return every measure of the rankings, ordered anew or, with None, as they were, after sections had their say."""
    return measure(
        [ranking(head.question, with_sections(_reranked(head, rerank), weight=section_weight)) for head in heads]
    )


def median_ms(heads: Sequence[Head], rerank: Rerank) -> float:
    """Return what ordering anew took for the median question, in milliseconds."""
    place = DEPTHS.index(rerank.depth)
    return statistics.median(head.ms[place] for head in heads)


def _reranked(head: Head, rerank: Rerank | None) -> tuple[Passage, ...]:
    if rerank is None:
        return head.passages
    return mix(head.passages, head.scores[: rerank.depth], weight=rerank.weight)
