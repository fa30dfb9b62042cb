from __future__ import annotations

import time

import pytest

from indexer.parsers.rows import row_blocks


def texts(rows: list[list[str]]) -> list[str]:
    return [block.text for block in row_blocks(rows)]


def test_every_row_carries_its_column_names() -> None:
    rows = [["Crop", "Days ", ""], ["Oats", "90", ""], ["", "", ""], ["Rye\nwinter", "", "late"], ["a", "b", "c", "d"]]
    assert texts(rows) == [
        "Crop: Oats | Days: 90",
        "Crop: Rye winter | column 3: late",
        "Crop: a | Days: b | column 3: c | column 4: d",
    ]


def test_notes_above_the_header_are_paragraphs() -> None:
    blocks = list(row_blocks([["Yields", "", ""], ["Crop", "2030", "2031"], ["Oats", "5.1", "4.9"]]))
    assert [(block.kind, block.text) for block in blocks] == [
        ("paragraph", "Yields"),
        ("item", "Crop: Oats | 2030: 5.1 | 2031: 4.9"),
    ]


@pytest.mark.parametrize("first", [["Oats", "90.5"], ["Oats", "2031-05-04"], ["Oats", "1,200"], ["Oats", "12 %"]])
def test_a_first_row_of_values_is_no_header(first: list[str]) -> None:
    assert texts([first, ["Rye", "7"]])[0] == f"column 1: Oats | column 2: {first[1]}"


def test_a_lone_row_is_no_header() -> None:
    assert texts([["Crop", "Days"]]) == ["column 1: Crop | column 2: Days"]
    assert texts([]) == []


def test_a_long_text_stands_alone_under_its_row_and_column() -> None:
    long = "First paragraph. " * 20 + "\n\n" + "Second. " * 20
    blocks = list(row_blocks([["Id", "Body", "By"], ["T-7", long, "Ada"]], heading_path=("Tickets",)))
    assert [(block.kind, block.text, block.heading_path) for block in blocks] == [
        ("item", "Id: T-7 | By: Ada", ("Tickets",)),
        ("paragraph", long.strip(), ("Tickets", "T-7", "Body")),
    ]


def test_rows_are_taken_as_they_come() -> None:
    def endless():
        yield ["a", "b"]
        while True:
            yield ["x", "y"]

    blocks = row_blocks(endless())
    assert [next(blocks).text for _ in range(100)] == ["a: x | b: y"] * 100


def test_a_first_cell_that_is_almost_a_number_is_quick() -> None:
    began = time.process_time()
    assert texts([["1" * 100_000 + "x", "b"], ["1", "2"]])[0].endswith("1x: 1 | b: 2")
    assert time.process_time() - began < 5
