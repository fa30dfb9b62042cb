from __future__ import annotations

import datetime
import time
import tracemalloc

import pytest
from openpyxl import Workbook

from indexer.parsers.base import ParsedDocument, ParseError, RawDocument
from indexer.parsers.xlsx import XlsxParser
from tests.indexer.parsers.making import make_xlsx, saved, with_part

SHEET = "xl/worksheets/sheet1.xml"
WORKBOOK = "xl/workbook.xml"


def parse(content: bytes) -> ParsedDocument:
    return XlsxParser().parse(RawDocument(key=None, content=content))


def texts(content: bytes) -> list[str]:
    return [block.text for block in parse(content).blocks]


def test_each_sheet_is_a_heading_over_its_rows() -> None:
    book = Workbook()
    book.properties.title = "Wells 2031"
    book.active.title = "North  side"
    for row in (["Well", "Depth"], ["A", 12], [], ["B", None]):
        book.active.append(row)
    other = book.create_sheet("South")
    other.append(["Well", "Owner"])
    other.append(["C", "Ada"])
    book.create_sheet("Empty")
    hidden = book.create_sheet("Lists")
    hidden.append(["a", "b"])
    hidden.sheet_state = "hidden"
    parsed = parse(saved(book))
    assert parsed.title == "Wells 2031"
    assert [(block.kind, block.text, block.heading_path) for block in parsed.blocks] == [
        ("heading", "North side", ("North side",)),
        ("item", "Well: A | Depth: 12", ("North side",)),
        ("item", "Well: B", ("North side",)),
        ("heading", "South", ("South",)),
        ("item", "Well: C | Owner: Ada", ("South",)),
    ]


def test_cells_are_read_as_shown() -> None:
    book = Workbook()
    book.active.append(["what", "value"])
    values = [
        datetime.datetime(2031, 5, 4),
        datetime.datetime(2031, 5, 4, 10, 30),
        datetime.time(7, 5),
        0.1 + 0.2,
        3.0,
        1234567,
        True,
        "#N/A",
        "two\nlines",
    ]
    for value in values:
        book.active.append(["x", value])
    book.active.append(["x", 0.07])
    book.active.cell(row=len(values) + 2, column=2).number_format = "0.0%"
    assert [text.partition("value: ")[2] for text in texts(saved(book))[1:]] == [
        "2031-05-04", "2031-05-04T10:30:00", "07:05:00", "0.3", "3", "1234567", "TRUE", "#N/A", "two lines", "7%"
    ]  # fmt: skip


def test_formulas_give_their_stored_value() -> None:
    content = make_xlsx([["sum", "note"], ["=1+1", "x"]])
    assert texts(content)[1:] == ["note: x"]
    stored = with_part(
        content, SHEET, lambda part: part.replace(b"<v></v>", b"<v>2</v>").replace(b"<v />", b"<v>2</v>")
    )
    assert texts(stored)[1:] == ["sum: 2 | note: x"]


def test_empty_formatted_cells_are_passed_over() -> None:
    row = b"".join(b'<c r="%s" s="0"/>' % (chr(65 + place) + "%d").encode() for place in range(20))
    cells = b"".join(b'<row r="%d">%s</row>' % (number, row % ((number,) * 20)) for number in range(3, 10_003))
    content = with_part(
        make_xlsx([["a", "b"], ["x", "y"]]),
        SHEET,
        lambda part: part.replace(b"</sheetData>", cells + b"</sheetData>").replace(b"A1:B2", b"A1:XFD1048576"),
    )
    began = time.process_time()
    assert texts(content)[1:] == ["a: x | b: y"]
    assert time.process_time() - began < 30


@pytest.mark.parametrize("row", [b'<row r="999999999999"><c r="A1"><v>1</v></c></row>', b'<row r="1048576"/>'])
def test_a_row_far_below_is_not_walked_to(row: bytes) -> None:
    content = with_part(
        make_xlsx([["a", "b"], ["x", "y"]]), SHEET, lambda part: part.replace(b"</sheetData>", row + b"</sheetData>")
    )
    began = time.process_time()
    assert texts(content)[1:] == ["a: x | b: y"]
    assert time.process_time() - began < 20


def test_a_sheet_that_is_almost_all_gaps_is_refused() -> None:
    parser = XlsxParser(max_cells=1_000_000)  # as many as ship take a minute when traced
    rows = b"".join(b'<row r="%d"><c r="XFD%d" s="0"/></row>' % (number, number) for number in range(3, 1503))
    content = with_part(
        make_xlsx([["a", "b"], ["x", "y"]]), SHEET, lambda part: part.replace(b"</sheetData>", rows + b"</sheetData>")
    )
    tracemalloc.start()
    try:
        with pytest.raises(ParseError, match="spreads over more than"):
            parser.parse(RawDocument(key=None, content=content))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("part", [SHEET, WORKBOOK])
def test_damaged_parts_are_refused(part: str) -> None:
    with pytest.raises(ParseError, match="damaged"):
        parse(with_part(make_xlsx([["a"], ["b"]]), part, lambda content: content[:-40]))
