from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.parsers.base import ParsedDocument, ParseError, RawDocument, SplitFailure
from indexer.parsers.json import JsonParser


def split(content: bytes, *, max_bytes: int = 1000) -> list[RawDocument | SplitFailure]:
    return list(JsonParser().split(io.BytesIO(content), max_bytes=max_bytes))


def parse(value: object, key: str | None = None) -> ParsedDocument:
    return JsonParser().parse(RawDocument(key=key, content=json.dumps(value).encode()))


def lines(value: object) -> list[str]:
    return [block.text for block in parse(value).blocks]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_list_of_objects_with_text_is_as_many_documents(mark: bytes) -> None:
    documents = split(mark + b'[{"id": "a", "text": "x"}, {"content": "y"}, {"id": 7, "text": "z"}]')
    assert [document.key for document in documents] == ["a", "I2", "7"]
    read = [JsonParser().parse(document) for document in documents if isinstance(document, RawDocument)]
    assert [document.blocks[0].text for document in read] == ["x", "y", "z"]


def test_bad_items_fail_alone() -> None:
    documents = split(b'[{"text": "x"}, 5, {"id": true, "text": "y"}, {"id": "I1", "text": "z"}, {"text": "w"}]')
    reasons = [document.reason for document in documents if isinstance(document, SplitFailure)]
    assert "item 2: a JSON object is needed, this is int" in reasons[0]
    assert "item 3: the field `id`" in reasons[1]
    assert "item 4: id 'I1' stands already on item 1" in reasons[2]
    assert [document.key for document in documents if isinstance(document, RawDocument)] == ["I1", "I5"]


def test_the_same_item_has_the_same_bytes_wherever_it_stands() -> None:
    first = split(b'[{"id": "a", "text": "x", "n": 1.50}]')[0]
    second = split(b'[{"text": "v"},\n {"n": 1.5, "text":   "x", "id": "a"}]')[1]
    assert first == second


def test_a_list_that_breaks_off_gives_what_stands_before() -> None:
    documents = JsonParser().split(io.BytesIO(b'[{"text": "x"}, {"text": "y"'), max_bytes=1000)
    assert isinstance(next(documents), RawDocument)
    with pytest.raises(ParseError, match="cannot be read after item 1"):
        next(documents)


def test_an_item_over_the_limit_is_named() -> None:
    documents = split(b'[{"text": "x"}, {"text": "' + b"y" * 2000 + b'"}, {"text": "z"}]')
    assert isinstance(documents[1], SplitFailure)
    assert "item 2 is larger than 1000 bytes" in documents[1].reason
    assert isinstance(documents[2], RawDocument)
    huge = JsonParser().split(io.BytesIO(b'[{"text": "x"}, {"text": "' + b"y" * 500_000), max_bytes=1000)
    next(huge)
    with pytest.raises(ParseError, match=r"after item 1: .* larger than the limit of 1000 bytes"):
        next(huge)


def test_an_object_with_text_is_one_document() -> None:
    content = b'{"title": "Bees", "url": "https://x.y/b", "text": "One.\\n\\nTwo.", "year": 2031}'
    assert split(content) == [RawDocument(key=None, content=content)]
    parsed = JsonParser().parse(RawDocument(key=None, content=content))
    assert (parsed.title, parsed.url, parsed.metadata) == ("Bees", "https://x.y/b", (("year", "2031"),))
    assert [block.text for block in parsed.blocks] == ["One.", "Two."]


def test_structure_becomes_key_paths() -> None:
    value = {
        "title": "Cluster",
        "version": 2,
        "servers": [{"name": "web", "ports": [80, 443], "tls": None}, {"name": "db", "disk": {"gb": 5, "raid": True}}],
        "empty": {},
        "mixed": [1, {"a": "b"}],
    }
    parsed = parse(value)
    assert parsed.title == "Cluster"
    assert [(block.text, block.heading_path) for block in parsed.blocks] == [
        ("title: Cluster\nversion: 2\nempty: {}", ()),
        ("servers[0].name: web\nservers[0].ports: 80, 443", ("servers",)),
        ("servers[1].name: db", ("servers",)),
        ("servers[1].disk.gb: 5\nservers[1].disk.raid: true", ("servers",)),
        ("mixed[0]: 1", ("mixed",)),
        ("mixed[1].a: b", ("mixed",)),
    ]


@pytest.mark.parametrize(
    ("value", "expected"), [("words", ["words"]), (5, ["5"]), ([[1, 2], [3]], ["[0]: 1, 2\n[1]: 3"])]
)
def test_other_values(value: object, expected: list[str]) -> None:
    assert lines(value) == expected


def test_a_list_of_other_objects_is_structure() -> None:
    assert len(split(b'[{"name": "x"}, {"name": "y"}]')) == 1
    assert lines([{"name": "x"}, {"name": "y"}]) == ["[0].name: x", "[1].name: y"]


def test_deep_and_wide_keys_stay_bounded() -> None:
    deep: object = {"leaf": "value"}
    for _ in range(60):
        deep = {"level": deep}
    assert lines(deep)[0].endswith('{"leaf": "value"}' + "}" * 43)
    with pytest.raises(ParseError, match="key paths make more than"):
        parse({"k" * 1000: {"k" * 1000 + "2": [{"a": [{}]}] * 5000}})
    with pytest.raises(ParseError, match="not JSON"):
        JsonParser().parse(RawDocument(key=None, content=b"[" * 100_000))


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b'{"a": \xff}', b"\xff\xfe["])
def test_what_is_no_json_is_refused(content: bytes) -> None:
    assert split(content) == [RawDocument(key=None, content=content)]
    with pytest.raises(ParseError, match=r"not (JSON|UTF-8)"):
        JsonParser().parse(RawDocument(key=None, content=content))


@pytest.fixture
def one_line_of_64_mb(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "one_line"
    with path.open("wb") as out:
        out.write(b'[{"text": "')
        for _ in range(64):
            out.write(b"word " * 200_000)
        out.write(b'"}]')
    yield path
    path.unlink()


MEASURE = """
import resource, sys
from indexer.parsers import PARSERS
from indexer.parsers.base import ParseError, SplitFailure
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with open(sys.argv[1], "rb") as stream:
        for part in PARSERS[sys.argv[2]].split(stream, max_bytes=1_000_000):
            print(part.reason if isinstance(part, SplitFailure) else "read")
except ParseError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("media_type", ["application/json", "application/jsonl", "text/plain", "text/csv"])
def test_one_line_of_64_mb_is_refused_in_little_memory(one_line_of_64_mb: Path, media_type: str) -> None:
    command = [sys.executable, "-c", MEASURE, str(one_line_of_64_mb), media_type]
    reason, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "1000000 bytes (max_document_bytes)" in reason
    assert int(kilobytes) < 16_000


def test_a_long_list_of_small_documents_needs_no_more_memory_than_one(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    with path.open("wb") as out:
        out.write(
            b"[" + b",".join(b'{"id": %d, "text": "%s"}' % (number, b"word " * 2000) for number in range(3000)) + b"]"
        )
    command = [sys.executable, "-c", MEASURE, str(path), "application/json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    path.unlink()
    assert printed[:-1] == ["read"] * 3000
    assert int(printed[-1]) < 16_000
