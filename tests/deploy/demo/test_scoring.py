"""The scoring rules, by known values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.scoring import citation_precision, citation_recall, count_present, has_all
from train.wording import words


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


@given(st.text())
def test_a_text_has_all_of_itself(text):
    assert has_all(text, [text]) == bool(words(text))


def test_citations_against_gold_sources():
    assert citation_precision(["a", "b"], ["a"]) == 0.5
    assert citation_precision(["a", "a"], ["a"]) == 1.0
    assert citation_precision([], ["a"]) is None
    assert citation_recall(["a"], ["a", "b"]) == 0.5
    assert citation_recall([], ["a"]) == 0.0
    assert citation_recall(["a"], []) is None
