"""From the candidates of two searches to one ranking: scores on one scale, a weighted sum, and a word from the section.

Every choice here was measured on Perl's manual, see README.md and `tests/benchmarks/test_retrieval.py`. Milvus's own
weighted ranker maps BM25 scores by an arc tangent that is flat where they lie; its best weight was no better than dense
search alone there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from indexer.passages import Passage

# Words that make a sentence a question or hold it together: their rarity in a manual says nothing about its subject,
# but BM25 takes it for that. Articles, pronouns, prepositions, conjunctions, auxiliaries and question words.
# fmt: off
STOP_WORDS = frozenset({
    "a", "about", "an", "and", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do", "does",
    "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "just", "me", "my", "no",
    "not", "of", "on", "or", "should", "so", "such", "than", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "too", "us", "very", "was", "we", "were", "what", "when", "where", "which", "who",
    "why", "will", "with", "would", "you", "your",
})
# fmt: on

_WORD = re.compile(r"[\w'’]+")


def keywords(query: str) -> str:
    """Return what BM25 is asked for a question: the question without STOP_WORDS, or all of it where no word is left."""
    kept = _WORD.sub(lambda word: "" if word[0].lower() in STOP_WORDS else word[0], query)
    return kept if _WORD.search(kept) else query


def fuse(
    dense: Sequence[Passage], text: Sequence[Passage], *, dense_weight: float, section_weight: float
) -> tuple[Passage, ...]:
    """Return the candidates of the searches with a share, best first, with their new scores: `blend`, `with_sections`.

    Args:
        dense: Found by embeddings, best first.
        text: Found by BM25, best first.
        dense_weight: Share of the first, 0 to 1; the rest is the second's.
        section_weight: Share of the section in a passage's score, 0 to 1.
    """
    return with_sections(blend(dense, text, dense_weight=dense_weight), weight=section_weight)


def blend(dense: Sequence[Passage], text: Sequence[Passage], *, dense_weight: float) -> tuple[Passage, ...]:
    """Return the candidates of the searches with a share, best first, with their new scores, 0 to 1.

    The scores of each search are stretched so that its best candidate has 1 and its last 0; what a search did not find
    has 0 there.
    """
    arms = [(arm, weight) for arm, weight in ((text, 1.0 - dense_weight), (dense, dense_weight)) if weight > 0.0]
    found = {passage.chunk_id: passage for arm, _ in arms for passage in arm}
    scores = dict.fromkeys(found, 0.0)
    for arm, weight in arms:
        for passage, score in zip(arm, stretched([passage.score for passage in arm]), strict=True):
            scores[passage.chunk_id] += weight * score
    return _in_order(replace(passage, score=scores[key]) for key, passage in found.items())


def with_sections(passages: Sequence[Passage], *, weight: float) -> tuple[Passage, ...]:
    """Return the passages with the mean of their section mixed into their scores, best first.

    A section is what stands under the same headings of the same document: a passage between others that fit the
    question fits better.
    """
    sections: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(list)
    for passage in passages:
        sections[passage.document_id, passage.heading_path].append(passage.score)
    return _in_order(
        replace(passage, score=(1.0 - weight) * passage.score + weight * sum(section) / len(section))
        for passage in passages
        for section in [sections[passage.document_id, passage.heading_path]]
    )


def _in_order(passages: Iterable[Passage]) -> tuple[Passage, ...]:
    return tuple(sorted(passages, key=lambda passage: (-passage.score, passage.document_id, passage.ordinal)))


def stretched(scores: Sequence[float]) -> list[float]:
    """Return scores on a scale where the best has 1 and the last 0; equals all have 1."""
    if not scores:
        return []
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]
