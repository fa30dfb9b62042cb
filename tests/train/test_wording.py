"""Words, their overlap and refusals, by known values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.wording import contains, is_refusal, token_f1, words


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
