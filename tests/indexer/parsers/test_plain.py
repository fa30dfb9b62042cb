from __future__ import annotations

import io

import pytest

from indexer.parsers.base import ParseError, RawDocument
from indexer.parsers.plain import PlainParser


def parse(content: bytes):
    return PlainParser().parse(RawDocument(key=None, content=content))


def test_paragraphs_are_split_at_blank_lines() -> None:
    parsed = parse(b"Wells\n\nFirst line\nsecond line\n \n\n    code here\n      more\n\nLast\n")
    assert parsed.title == "Wells"
    assert [(block.kind, block.text) for block in parsed.blocks] == [
        ("paragraph", "Wells"),
        ("paragraph", "First line\nsecond line"),
        ("code", "    code here\n      more"),
        ("paragraph", "Last"),
    ]


def test_a_long_first_line_is_no_title() -> None:
    assert parse(b"word " * 40 + b"\n\nnext").title is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(encoding: str) -> None:
    text = "Der Müller mahlt größere Äpfel für süße Brötchen, und die Küche riecht schön nach Gewürzen und Öl."
    assert parse(text.encode(encoding)).blocks[0].text == text


def test_binary_content_is_refused() -> None:
    with pytest.raises(ParseError, match="binary"):
        parse(b"\x7fELF\x00\x01\x02")


def test_a_file_over_the_limit_is_refused() -> None:
    with pytest.raises(ParseError, match="limit of 10 bytes"):
        list(PlainParser().split(io.BytesIO(b"x" * 11), max_bytes=10))


def test_a_file_at_the_limit_is_read() -> None:
    assert list(PlainParser().split(io.BytesIO(b"x" * 10), max_bytes=10)) == [RawDocument(key=None, content=b"x" * 10)]
