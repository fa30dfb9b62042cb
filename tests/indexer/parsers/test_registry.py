from __future__ import annotations

import io
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.parsers import EXTENSIONS, PARSERS
from indexer.parsers.base import ParseError, RawDocument
from indexer.parsers.document import build_document
from tests.indexer.making import source
from tests.indexer.parsers.making import make_docx, make_parquet, make_xlsx
from tests.indexer.parsers.test_pdf import make_pdf

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SAMPLES = {
    DOCX: make_docx("One paragraph", "Another one"),
    XLSX: make_xlsx([["Crop", "Days"], ["Oats", 90], ["Rye", 110]]),
    "application/pdf": make_pdf("A page.", "Another page."),
    "text/html": b"<html><body><h1>T</h1><ul><li>a<li>b</ul><table><tr><td>x<td>y</table><pre>z</pre></body></html>",
    "text/markdown": b"# T\n\n- a\n  1. b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n```\nz\n```\n",
    "text/x-pod": b"=head1 NAME\n\nB<x> - C<< y >>\n\n=over\n\n=item *\n\nz\n\n=back\n",
    "application/json": b'[{"text": "x", "id": "a"}, {"b": [1, {"c": "d"}]}]',
    "application/jsonl": b'{"text": "x"}\n{"a": {"b": [1, 2]}}\n',
    "application/vnd.apache.parquet": make_parquet([{"id": "a", "text": "One."}, {"id": "b", "text": "Two."}]),
    "text/csv": b'Crop;Days\n"Oats; white";90\nRye;110\n',
    "text/plain": "Größe und Maß\n\nText".encode("cp1252"),
}
BITS = st.one_of(
    st.binary(max_size=300), st.sampled_from([b'"', b"<table>", b"\xff\xfe", b"\0", b"PK\x03\x04", b"{", b"[["])
)
whole = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def test_no_two_parsers_share_an_extension() -> None:
    counts = Counter(ending for parser in PARSERS.values() for ending in parser.extensions)
    assert set(counts.values()) == {1}
    assert all(ending.startswith(".") and ending == ending.lower() for ending in EXTENSIONS)


def read(media_type: str, content: bytes) -> None:
    """Read a file as a run does; nothing but ParseError may come out, and blocks know their place."""
    parser = PARSERS[media_type]
    try:
        parts = list(parser.split(io.BytesIO(content), max_bytes=5_000_000))
    except ParseError:
        parts = []
    for part in [*parts, RawDocument(key="k", content=content), RawDocument(key=None, content=content)]:
        if not isinstance(part, RawDocument):
            assert part.reason
            continue
        try:
            document = build_document(parser.parse(part), source=source(), key=part.key)
        except ParseError:
            continue
        assert all(document.text[block.start : block.end] == block.text for block in document.blocks)


@pytest.mark.parametrize("media_type", PARSERS)
@whole
@given(content=st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused(media_type: str, content: bytes) -> None:
    read(media_type, content)


@pytest.mark.parametrize("media_type", PARSERS)
@whole
@given(data=st.data())
def test_damaged_files_are_read_or_refused(media_type: str, data: st.DataObject) -> None:
    content = SAMPLES[media_type]
    place = data.draw(st.integers(min_value=0, max_value=len(content)))
    gone = data.draw(st.integers(min_value=0, max_value=50))
    read(media_type, content[:place] + data.draw(BITS) + content[place + gone :])
