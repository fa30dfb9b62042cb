"""Two rankings to one: known orders and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.fusion import STOP_WORDS, fuse, keywords
from indexer.passages import Passage


def passage(name: str, score: float, *, document: str = "d", headings: tuple[str, ...] = ()) -> Passage:
    return Passage(
        chunk_id=name,
        document_id=document,
        title="T",
        heading_path=headings or (name,),
        uri="file:///d",
        page=None,
        ordinal=ord(name[0]),
        text=name,
        score=score,
    )


def order(found: tuple[Passage, ...]) -> list[str]:
    return [each.chunk_id for each in found]


DENSE = [passage("a", 0.9), passage("b", 0.8), passage("c", 0.5)]
TEXT = [passage("d", 30.0), passage("b", 24.0), passage("e", 10.0)]


def test_scores_are_stretched_and_weighed() -> None:
    fused = fuse(DENSE, TEXT, dense_weight=0.6, section_weight=0.0)
    assert order(fused) == ["b", "a", "d", "c", "e"]
    scores = {each.chunk_id: each.score for each in fused}
    assert scores == pytest.approx({"b": 0.6 * 0.75 + 0.4 * 0.7, "a": 0.6, "d": 0.4, "c": 0.0, "e": 0.0})


@pytest.mark.parametrize(("weight", "arm"), [(1.0, DENSE), (0.0, TEXT)])
def test_a_search_without_a_share_adds_no_candidates(weight: float, arm: list[Passage]) -> None:
    assert order(fuse(DENSE, TEXT, dense_weight=weight, section_weight=0.5)) == order(tuple(arm))


def test_nothing_found_and_one_found() -> None:
    assert fuse([], [], dense_weight=0.5, section_weight=0.5) == ()
    [only] = fuse(DENSE[:1], [], dense_weight=0.5, section_weight=0.5)
    assert (only.chunk_id, only.score) == ("a", 0.5)


def test_a_section_lifts_its_members_and_no_others() -> None:
    found = [
        passage("a", 0.9, headings=("One",)),
        passage("b", 0.8, headings=("Two",)),
        passage("c", 0.7, headings=("Two",)),
        passage("d", 0.0, headings=("One",)),
        passage("e", 0.65, headings=("Two",), document="other"),
    ]
    assert order(fuse(found, [], dense_weight=1.0, section_weight=0.0)) == ["a", "b", "c", "e", "d"]
    assert order(fuse(found, [], dense_weight=1.0, section_weight=0.8)) == ["b", "c", "e", "a", "d"]


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@given(NAMES, NAMES, st.floats(0, 1), st.floats(0, 1))
def test_every_candidate_comes_once_between_nought_and_one(
    near: list[str], worded: list[str], dense_weight: float, section_weight: float
) -> None:
    dense = [passage(name, 1.0 - place / 10) for place, name in enumerate(near)]
    text = [passage(name, 20.0 - place) for place, name in enumerate(worded)]
    fused = fuse(dense, text, dense_weight=dense_weight, section_weight=section_weight)
    expected = {*(near if dense_weight > 0 else []), *(worded if dense_weight < 1 else [])}
    assert sorted(order(fused)) == sorted(expected)
    assert all(-1e-9 <= each.score <= 1 + 1e-9 for each in fused)
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("How do I sort a hash?", "sort hash?"),
        ("Why can't P-117 start", "can't P-117 start"),
        ("What is it for?", "What is it for?"),
        ("???", "???"),
    ],
)
def test_keywords(question: str, asked: str) -> None:
    assert " ".join(keywords(question).split()) == asked


def test_stop_words_are_spelled_as_they_are_compared() -> None:
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)
