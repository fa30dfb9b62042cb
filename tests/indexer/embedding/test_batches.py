from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indexer.embedding.batches import token_batches


def test_texts_of_like_length_go_together_and_the_longest_first() -> None:
    assert token_batches([10, 200, 12, 190, 11], budget=400) == ((1, 3), (2, 4, 0))


def test_a_text_over_the_budget_goes_alone() -> None:
    assert token_batches([900, 30, 30], budget=100) == ((0,), (1, 2))


def test_nothing_makes_no_batch() -> None:
    assert token_batches([], budget=100) == ()


@given(st.lists(st.integers(0, 600)), st.integers(1, 5000))
def test_every_text_once_and_no_pass_over_the_budget_but_single_texts(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget=budget)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[position] for position in batch) <= budget
