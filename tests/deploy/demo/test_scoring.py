"""The scoring rules, by known values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.scoring import (
    citation_precision,
    citation_recall,
    contains,
    count_present,
    has_all,
    is_refusal,
    token_f1,
    words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grey Hetty stops at 17m/s.", ("grey", "hetty", "stops", "at", "17", "m", "s")),
        ("3,900 mk [1][2, 3]", ("3900", "mk")),
        ("1,234,567 and 25.5 mm at 20:30.", ("1234567", "and", "25.5", "mm", "at", "20:30")),
        ("in 2024, 300 of 5, 100", ("in", "2024", "300", "of", "5", "100")),
        ("The keeper's oar doesn’t", ("the", "keepers", "oar", "doesnt")),
        ("28-tonne", ("28", "tonne")),
        ("", ()),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_a_number_does_not_match_inside_another():
    assert not has_all("It stops at 118 m/s.", ["18"])
    assert not has_all("It costs 17.5 mk.", ["17"])
    assert has_all("It costs 17 mk [2].", ["17 mk"])


def test_a_marker_is_not_an_answer():
    assert not has_all("It is so [3].", ["3"])


def test_all_phrases_are_needed_and_none_is_never_right():
    assert has_all("On Monday 10 March, 172 kg", ["10 March", "172"])
    assert not has_all("On Monday 10 March", ["10 March", "172"])
    assert not has_all("anything", [])
    assert count_present("On 10 March", ["10 March", "172", "march"]) == 2


def test_words_must_follow_each_other():
    assert contains(("a", "b", "c"), ("b", "c"))
    assert not contains(("a", "b", "c"), ("a", "c"))
    assert not contains(("a",), ())


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("the limit is 17 m/s", "The limit is 17 m/s.", 1.0),
        ("17", "the limit is 17", 2 * 1 / (1 + 3)),
        ("nothing alike", "17 m/s", 0.0),
        ("", "17", 0.0),
        ("17 17 17", "17", 2 * 1 / 4),
    ],
)
def test_token_f1(answer, gold, expected):
    assert token_f1(answer, gold) == pytest.approx(expected)


@given(st.text(), st.text())
def test_token_f1_is_symmetric_and_bounded(first, second):
    assert token_f1(first, second) == pytest.approx(token_f1(second, first))
    assert 0.0 <= token_f1(first, second) <= 1.0


@given(st.text())
def test_a_text_answers_itself(text):
    assert token_f1(text, text) == 1.0
    assert has_all(text, [text]) == bool(words(text))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The documents do not say.", True),
        ("I'm sorry, the passage doesn't say how many [1].", True),
        ("There is no information about that.", True),
        ("I cannot answer this from the passages.", True),
        ("The keeper did not say a word and rowed 35 m.", False),
        ("17 m/s", False),
        ("", False),
    ],
)
def test_refusals(answer, expected):
    assert is_refusal(answer) is expected


def test_citations_against_gold_sources():
    assert citation_precision(["a", "b"], ["a"]) == 0.5
    assert citation_precision(["a", "a"], ["a"]) == 1.0
    assert citation_precision([], ["a"]) is None
    assert citation_recall(["a"], ["a", "b"]) == 0.5
    assert citation_recall([], ["a"]) == 0.0
    assert citation_recall(["a"], []) is None
