"""How an answer is scored: exact rules over the words of `train.wording`, without a judge model."""

from __future__ import annotations

from collections.abc import Collection

from train.wording import contains, words


def count_present(text: str, phrases: Collection[str]) -> int:
    """How many of the phrases stand in a text."""
    found = words(text)
    return sum(contains(found, words(phrase)) for phrase in phrases)


def has_all(answer: str, must_include: Collection[str]) -> bool:
    """Whether every required phrase stands in the answer; False where none is required."""
    return bool(must_include) and count_present(answer, must_include) == len(must_include)


def citation_precision(cited: Collection[str], gold: Collection[str]) -> float | None:
    """Share of the cited documents that are gold sources; None where nothing is cited."""
    documents = set(cited)
    return len(documents & set(gold)) / len(documents) if documents else None


def citation_recall(cited: Collection[str], gold: Collection[str]) -> float | None:
    """Share of the gold sources that are cited; None where there is no gold source."""
    sources = set(gold)
    return len(sources & set(cited)) / len(sources) if sources else None
