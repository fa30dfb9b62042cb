from __future__ import annotations

import io

import pytest

from indexer.parsers.base import ParseError, RawDocument, SplitFailure
from indexer.parsers.json_lines import JsonLinesParser


def split(content: bytes, *, max_bytes: int = 1000) -> list[RawDocument | SplitFailure]:
    return list(JsonLinesParser().split(io.BytesIO(content), max_bytes=max_bytes))


def parse(line: bytes):
    return JsonLinesParser().parse(RawDocument(key="k", content=line))


def test_each_line_is_a_document_named_by_id_or_line() -> None:
    documents = split(b'\xef\xbb\xbf{"id": "a", "text": "x"}\n\n{"text": "y"}\r\n{"id": 7, "content": "z"}')
    assert [document.key for document in documents] == ["a", "L3", "7"]


def test_bad_lines_fail_alone() -> None:
    documents = split(b'{"text": "x"}\nnot json\n[1]\n{"id": true, "text": "x"}\n{"text": "y"}\n')
    assert [document.key for document in documents] == ["L1", "L2", "L3", "L4", "L5"]
    reasons = [document.reason for document in documents if isinstance(document, SplitFailure)]
    assert "line 2: not JSON" in reasons[0]
    assert "this is list" in reasons[1]
    assert "`id`" in reasons[2]


def test_an_id_given_twice_fails_the_second_time() -> None:
    documents = split(b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')
    assert isinstance(documents[0], RawDocument)
    assert isinstance(documents[1], SplitFailure)
    assert "already on line 1" in documents[1].reason


def test_a_line_over_the_limit_fails_and_the_next_is_read() -> None:
    documents = split(b'{"text": "' + b"x" * 5000 + b'"}\n{"text": "y"}\n', max_bytes=100)
    assert isinstance(documents[0], SplitFailure)
    assert "larger than 100 bytes" in documents[0].reason
    assert [document.key for document in documents] == ["L1", "L2"]
    assert isinstance(documents[1], RawDocument)


def test_fields() -> None:
    parsed = parse(
        b'{"id": "a", "title": " Bees ", "url": "https://x.y/b", "content": "One.\\n\\nTwo.", "year": 2031,'
        b' "deep": {"a": 1}, "by": "Ada"}'
    )
    assert parsed.title == "Bees"
    assert parsed.url == "https://x.y/b"
    assert [block.text for block in parsed.blocks] == ["One.", "Two."]
    assert parsed.metadata == (("year", "2031"), ("by", "Ada"))


@pytest.mark.parametrize("line", [b'{"title": "no text"}', b'{"text": 5}', b'{"text": null, "body": "x"}'])
def test_a_line_without_text_is_refused(line: bytes) -> None:
    with pytest.raises(ParseError, match="no text"):
        parse(line)


def test_metadata_is_bounded() -> None:
    parsed = parse(b'{"text": "x", "small": "s", "big": "' + b"b" * 5000 + b'"}')
    assert parsed.metadata == (("small", "s"),)
