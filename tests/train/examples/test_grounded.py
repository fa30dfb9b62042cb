"""An answer is grounded where its numbers and most of its words are in the passages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.examples.making import passage
from train.examples.grounded import content_words, grounding, numbers, stem

PASSAGES = (
    passage(0, "Service is suspended at a steady wind of 17 m/s. The fare is 3,900 marks."),
    passage(1, "Sheep are shorn before the lambing season of 2024.", heading=("Husbandry",)),
)
WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=9), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("answer", "share", "missing_numbers", "missing_words"),
    [
        ("Service suspends at 17 m/s [1].", 1.0, (), ()),
        ("It costs 3900 marks.", 0.5, (), ("costs",)),
        ("The wind may be 18 m/s.", 1.0, ("18",), ()),
        ("Husbandry of ropes", 1.0, (), ()),
        ("Service is cancelled by the captain.", 1 / 3, (), ("cancelled", "captain")),
        ("It is so.", 1.0, (), ()),
        ("In 202, 7 of 17 winds", 1.0, ("202", "7"), ()),
        ("[2] [17]", 1.0, (), ()),
    ],
)
def test_known_answers(
    answer: str, share: float, missing_numbers: tuple[str, ...], missing_words: tuple[str, ...]
) -> None:
    found = grounding(answer, PASSAGES)
    assert found.share == pytest.approx(share)
    assert found.missing_numbers == missing_numbers
    assert found.missing_words == missing_words


def test_a_number_that_is_missing_outweighs_every_word() -> None:
    assert not grounding("Service is suspended at a steady wind of 18 m/s.", PASSAGES).holds(0.0)
    assert grounding("Service is cancelled by the captain.", PASSAGES).holds(0.3)
    assert not grounding("Service is cancelled by the captain.", PASSAGES).holds(0.4)


@given(WORDS, st.data())
def test_what_is_taken_from_a_passage_is_grounded(said: list[str], data: st.DataObject) -> None:
    taken = data.draw(st.lists(st.sampled_from(said), max_size=8))
    assert grounding(" ".join(taken), [passage(0, " ".join(said))]).holds(1.0)


@given(WORDS, WORDS, WORDS)
def test_more_passages_take_nothing_away(answer: list[str], first: list[str], second: list[str]) -> None:
    one, two = passage(0, " ".join(first)), passage(1, " ".join(second))
    alone, both = grounding(" ".join(answer), [one]), grounding(" ".join(answer), [one, two])
    assert both.share >= alone.share
    assert set(both.missing_words) <= set(alone.missing_words)
    assert both == grounding(" ".join(answer), [two, one])


@given(WORDS, st.integers(0, 10**9))
def test_a_number_that_no_passage_has_is_missing(said: list[str], number: int) -> None:
    found = grounding(f"{' '.join(said)} {number}", [passage(0, " ".join(said))])
    assert found.missing_numbers == (str(number),)
    assert not found.holds(0.0)


@given(st.text())
def test_the_share_is_one_and_every_word_is_found_in_the_text_itself(text: str) -> None:
    found = grounding(text, [passage(0, text)])
    assert found.share == 1.0
    assert found.missing_numbers == ()
    assert {*content_words(text), *numbers(text)} >= set(found.missing_words)


@given(st.text("abcdefgh", min_size=1, max_size=12))
def test_a_stem_is_a_beginning(word: str) -> None:
    assert word.startswith(stem(word))
    assert len(stem(word)) >= min(4, len(word))
