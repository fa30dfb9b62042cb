"""Which rows are answered, and where their answers begin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.answering import answer_room, answered_rows, answering_work, last_answer
from train.reserve import ForwardWork


def split(mask: list[int]) -> tuple[list[int], list[int]] | None:
    found = last_answer(np.arange(len(mask), dtype=np.int32), np.array(mask, dtype=np.bool_))
    return None if found is None else (found[0].tolist(), found[1].tolist())


def test_a_row_is_split_at_its_last_answer() -> None:
    assert split([0, 0, 1, 1, 0, 0, 1, 1, 0]) == ([0, 1, 2, 3, 4, 5], [6, 7])
    assert split([0, 1, 1]) == ([0], [1, 2])
    assert split([0, 1, 0, 1]) == ([0, 1, 2], [3])
    assert split([1, 1]) is None
    assert split([0, 0]) is None


@given(st.lists(st.integers(0, 1), min_size=1, max_size=40))
def test_an_answer_is_learned_whole_and_what_is_before_it_ends_unlearned(mask: list[int]) -> None:
    found = split(mask)
    if found is None:
        assert not any(mask) or mask.index(1) == 0
        return
    prompt, answer = found
    assert prompt + answer == list(range(answer[-1] + 1))
    assert all(mask[token] for token in answer)
    assert not mask[prompt[-1]]
    assert not any(mask[answer[-1] + 1 :])


@given(st.integers(1, 500), st.integers(1, 64))
def test_the_rows_that_are_answered_are_spread_evenly(rows: int, most: int) -> None:
    chosen = answered_rows(rows, most=most)
    assert len(set(chosen)) == len(chosen) == min(rows, most)
    assert chosen[0] == 0
    gaps = np.diff([*chosen, rows])
    assert gaps.max() - gaps.min() <= 1


def test_every_written_token_is_a_pass() -> None:
    mask = np.array([0] * 10 + [1] * 5, dtype=np.bool_)
    row = (np.arange(15, dtype=np.int32), mask)
    assert answer_room(5) == 18
    assert answering_work([row, row]) == ForwardWork(passes=1 + 18, tokens=10 + 18).times(2)
