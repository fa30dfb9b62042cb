from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InputError
from indexer.passages import Passage
from indexer.rerank.mixing import Rerank, mix, rerank_text

PASSAGE = Passage(
    chunk_id="x", document_id="d", title="Ropes", heading_path=("Ropes", "Hawsers"), uri="file:///d", page=None,
    ordinal=0, text="Forty metres.", score=0.0,
)  # fmt: skip
RANKED = [
    replace(PASSAGE, chunk_id=name, score=score) for name, score in zip("abcd", (0.9, 0.5, 0.1, 0.05), strict=True)
]


def names(passages: tuple[Passage, ...]) -> str:
    return "".join(passage.chunk_id for passage in passages)


def test_scores_are_stretched_and_added_by_weight() -> None:
    mixed = mix(RANKED, [-8.0, 2.0, -3.0], weight=0.6)
    assert names(mixed) == "bacd"
    assert [passage.score for passage in mixed] == pytest.approx(
        [0.4 * 0.5 + 0.6, 0.4 * 0.9, 0.4 * 0.1 + 0.6 * 0.5, 0.4 * 0.05]
    )


@pytest.mark.parametrize(("weight", "order"), [(0.0, "abcd"), (1.0, "bcad")])
def test_either_alone_decides_with_all_of_the_weight(weight: float, order: str) -> None:
    assert names(mix(RANKED, [-8.0, 2.0, -3.0], weight=weight)) == order


def test_equals_stay_as_they_were_and_nothing_is_asked_of_nothing() -> None:
    assert names(mix(RANKED, [1.0, 1.0, 1.0, 1.0], weight=1.0)) == "abcd"
    assert names(mix(RANKED, [], weight=0.5)) == "abcd"
    assert mix([], [], weight=1.0) == ()


@given(
    first=st.lists(st.floats(0, 1), max_size=8),
    second=st.lists(st.floats(-20, 20), max_size=8),
    weight=st.floats(0, 1),
)
def test_what_was_not_looked_at_stays_behind_in_its_order(
    first: list[float], second: list[float], weight: float
) -> None:
    ranked = [replace(PASSAGE, chunk_id=str(n), score=s) for n, s in enumerate(sorted(first, reverse=True))]
    scores = second[: len(ranked)]
    mixed = mix(ranked, scores, weight=weight)
    found = [passage.chunk_id for passage in mixed]
    assert sorted(found[: len(scores)]) == [str(n) for n in range(len(scores))]
    assert found[len(scores) :] == [str(n) for n in range(len(scores), len(ranked))]
    after = [passage.score for passage in mixed]
    assert after == sorted(after, reverse=True)


def test_a_reranker_reads_the_headings_too() -> None:
    assert rerank_text(PASSAGE) == "Ropes > Hawsers\n\nForty metres."
    assert rerank_text(replace(PASSAGE, title="", heading_path=())) == "Forty metres."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth": 0}, "depth of reranking is 0"),
        ({"depth": 201}, "201"),
        ({"weight": 1.1}, "weight of reranking is 1.1"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Rerank(by="model", **change)  # type: ignore[arg-type]
