from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from train.markers import cited, renumbered, without_markers


def test_markers_are_read_numbered_anew_and_taken_out() -> None:
    text = "It stops [2], at 17 m/s [1, 3][2]. See [a] and x[4]."
    assert cited(text) == (2, 1, 3, 4)
    assert renumbered(text, {2: 5, 3: 1}) == "It stops [5], at 17 m/s [1][5]. See [a] and x."
    assert without_markers(text) == "It stops, at 17 m/s. See [a] and x."


@given(st.lists(st.integers(1, 99), max_size=5))
def test_numbers_that_stay_are_cited_alike(numbers: list[int]) -> None:
    text = "So it is" + "".join(f" [{number}]" for number in numbers) + "."
    assert cited(renumbered(text, {number: number for number in numbers})) == tuple(dict.fromkeys(numbers))
    assert without_markers(text) == "So it is."
