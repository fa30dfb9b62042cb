from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from indexer.passages import Passage
from serve.citations import cite, read_markers


def passage(number: int) -> Passage:
    return Passage(
        chunk_id=f"c{number}",
        document_id=f"d{number}",
        title=f"Title {number}",
        heading_path=("Part", f"Section {number}"),
        uri=f"file:///d{number}.md",
        page=None,
        ordinal=0,
        text="text",
        score=0.5,
    )


def test_markers_inside_the_context_stay_and_count_as_cited() -> None:
    marked = read_markers("Rope is 12 m long [1]. It was replaced in 1987 [2][1].", passages=2)
    assert marked.text == "Rope is 12 m long [1]. It was replaced in 1987 [2][1]."
    assert marked.cited == {1, 2}
    assert marked.invalid == 0


def test_markers_outside_the_context_go_with_the_blank_before_them() -> None:
    marked = read_markers("Rope is 12 m long [7]. It was replaced [0].", passages=2)
    assert marked.text == "Rope is 12 m long. It was replaced."
    assert marked.cited == frozenset()
    assert marked.invalid == 2


def test_a_list_keeps_its_valid_numbers() -> None:
    marked = read_markers("Both agree [1, 9; 2].", passages=2)
    assert marked.text == "Both agree [1, 2]."
    assert marked.cited == {1, 2}
    assert marked.invalid == 1


def test_brackets_that_are_no_markers_stay() -> None:
    text = "a[i] = b[12345]; see [note] and [] and [1 2]"
    assert read_markers(text, passages=1).text == text


@given(st.text(alphabet="ab [],;0123456789\n"), st.integers(0, 5))
def test_reading_twice_finds_nothing_more_to_remove(text: str, passages: int) -> None:
    once = read_markers(text, passages=passages)
    assert all(1 <= number <= passages for number in once.cited)
    if once.invalid == 0:
        assert once.text == text
    else:
        assert len(once.text) < len(text)


def test_a_heading_that_is_the_title_stands_once() -> None:
    same = replace(passage(1), heading_path=("Title 1", "Care", "Rope"))
    assert same.places == ("Title 1", "Care", "Rope")
    assert cite([same], cited=frozenset())[0].heading == "Care > Rope"


def test_citations_carry_where_a_passage_is() -> None:
    first, second = cite([passage(1), passage(2)], cited=frozenset({2}))
    assert (first.n, first.cited, second.n, second.cited) == (1, False, 2, True)
    assert second.heading == "Part > Section 2"
    assert second.chunk_id == "c2"
