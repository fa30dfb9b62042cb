from __future__ import annotations

import csv
import time

import pytest

from indexer.parsers.base import ParseError, RawDocument
from indexer.parsers.csv import CsvParser


def texts(content: str | bytes) -> list[str]:
    raw = content.encode() if isinstance(content, str) else content
    return [block.text for block in CsvParser().parse(RawDocument(key=None, content=raw)).blocks]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    rows = [["Crop", "Note"], ["Oats, white; early", "5,1 t | dry"], ["Rye", "4,9 t"], ["Emmer", "a\tb"]]
    lines = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows]
    assert texts("\r\n".join(lines)) == [
        "Crop: Oats, white; early | Note: 5,1 t | dry",
        "Crop: Rye | Note: 4,9 t",
        "Crop: Emmer | Note: a b",
    ]


def test_one_column_needs_no_delimiter() -> None:
    assert texts("Crop\nOats\nRye, winter\n") == ["Crop: Oats", "Crop: Rye | column 2: winter"]


def test_quoted_cells_may_hold_line_ends_and_quotes() -> None:
    assert texts('a,b\n"one\ntwo","say ""x"""\n') == ['a: one two | b: say "x"']


@pytest.mark.parametrize("line", ['"never closed,1', 'x,"5" pipe"', 'x," spaced "y'])
def test_a_stray_quote_does_not_swallow_the_rest(line: str) -> None:
    made = texts(f"a,b\n{line}\nnext,2\nlast,3\n")
    assert len(made) == 3
    assert made[1:] == ["a: next | b: 2", "a: last | b: 3"]


def test_a_very_long_field_is_read() -> None:
    long = "word " * 100_000
    assert texts(f'a,b\nx,"{long}"\n') == ["a: x", long.strip()]
    assert csv.field_size_limit() >= 500_000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
def test_encodings_are_found_as_in_text(encoding: str) -> None:
    assert texts("Käse;Preis\nGruyère;3 €\n".encode(encoding)) == ["Käse: Gruyère | Preis: 3 €"]


def test_a_nul_is_refused() -> None:
    with pytest.raises(ParseError, match="binary"):
        texts(b"a,b\nx,\0y\n")


def test_a_large_file_is_quick() -> None:
    content = "id,name,note\n" + "".join(f"{number},n{number},some words of a note\n" for number in range(100_000))
    began = time.process_time()
    assert len(texts(content)) == 100_000
    assert time.process_time() - began < 20


def test_quotes_without_end_are_quick() -> None:
    began = time.process_time()
    texts('"' * 1_000_000 + "\n" + 'a"b,' * 100_000)
    assert time.process_time() - began < 10
