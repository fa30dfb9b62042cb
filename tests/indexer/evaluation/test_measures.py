"""The library's values against ones worked out by hand."""

from __future__ import annotations

import math

import pytest

from indexer.evaluation.measures import MEASURES, MRR, NDCG, Ranking, measure


def one(found: str, relevant: str) -> dict[str, float]:
    values = measure([Ranking(found=tuple(found), relevant=frozenset(relevant))])
    assert tuple(values) == MEASURES
    return {name: value for name, [value] in values.items()}


def test_one_of_two_in_second_place() -> None:
    values = one("xayz", "ab")
    assert values == pytest.approx(
        {
            "recall@1": 0.0,
            "recall@5": 0.5,
            "recall@10": 0.5,
            "recall@20": 0.5,
            MRR: 0.5,
            NDCG: (1 / math.log2(3)) / (1 + 1 / math.log2(3)),
        }
    )


def test_what_comes_after_the_tenth_counts_for_recall_at_twenty_only() -> None:
    values = one("bcdefghijka", "a")
    assert values == pytest.approx({name: 1.0 if name == "recall@20" else 0.0 for name in MEASURES})


def test_equal_places_keep_the_order_they_came_in() -> None:
    assert one("zya", "z")["recall@1"] == 1.0
    assert one("ayz", "a")["recall@1"] == 1.0


def test_nothing_found_is_nought_and_questions_stay_in_order() -> None:
    rankings = [Ranking((), frozenset("a")), Ranking(("a",), frozenset("a")), Ranking((), frozenset("b"))]
    assert measure(rankings)[NDCG] == [0.0, 1.0, 0.0]
