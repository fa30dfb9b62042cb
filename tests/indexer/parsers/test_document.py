from __future__ import annotations

import pytest

from indexer.parsers.base import ParsedBlock, ParsedDocument, ParseError
from indexer.parsers.document import build_document, document_id, document_uri
from indexer.sources.provenance import FILE_FIELD
from tests.indexer.making import document, source


def test_blocks_know_their_place() -> None:
    made = document(("heading", "A"), ("paragraph", "  "), ("paragraph", "text \ud800here\0"))
    assert made.text == "A\n\ntext here"
    assert [made.text[block.start : block.end] for block in made.blocks] == ["A", "text here"]


def test_ids_uris_and_titles() -> None:
    parsed = ParsedDocument(title=None, blocks=(ParsedBlock(kind="paragraph", text="x"),))
    whole = build_document(parsed, source=source("/docs/guide.md"), key=None)
    assert (whole.document_id, whole.uri, whole.title) == ("docs/guide.md", "file:///docs/guide.md", "guide")
    part = build_document(parsed, source=source("/docs/all.jsonl"), key="b7")
    assert (part.document_id, part.uri, part.title) == ("docs/all.jsonl#b7", "file:///docs/all.jsonl#b7", "b7")


def test_a_stated_address_is_the_uri_and_the_file_is_noted() -> None:
    parsed = ParsedDocument(title="T", blocks=(ParsedBlock(kind="paragraph", text="x"),), url="https://a.b/c")
    made = build_document(parsed, source=source("/docs/all.jsonl"), key="k")
    assert made.uri == "https://a.b/c"
    assert made.metadata == ((FILE_FIELD, "file:///docs/all.jsonl"),)


def test_very_long_ids_are_shortened_and_stay_different() -> None:
    ids = {document_id(source(), "k" * 3000 + end) for end in "ab"}
    assert len(ids) == 2
    assert all(len(made.encode()) <= 1024 for made in ids)


def test_very_long_keys_make_addresses_that_are_short_and_stay_different() -> None:
    uris = {document_uri(source(), "k" * 20_000 + end) for end in "ab"}
    assert len(uris) == 2
    assert all(len(uri) < 1100 and uri.startswith(f"{source().uri}#kkk") for uri in uris)
    assert document_uri(source(), "k" * 1024) == f"{source().uri}#{'k' * 1024}"


def test_no_text_is_a_failure() -> None:
    with pytest.raises(ParseError, match="no text"):
        build_document(ParsedDocument(title="T", blocks=()), source=source(), key=None)


def test_headings_are_clipped_and_the_text_is_not() -> None:
    long = "ä" * 1000
    made = document(("heading", long, ("top", *["deeper"] * 20, long)), ("paragraph", "x", (long,)))
    assert made.blocks[0].heading_path == ("top", *["deeper"] * 15)
    assert made.blocks[1].heading_path == ("ä" * 512,)
    assert made.text == f"{long}\n\nx"


def test_metadata_over_the_limit_fails_with_its_size() -> None:
    def parsed(characters: int) -> ParsedDocument:
        block = ParsedBlock(kind="paragraph", text="x")
        return ParsedDocument(title=None, blocks=(block,), metadata=(("notes", "n" * characters),))

    assert build_document(parsed(32_755), source=source(), key=None).metadata[0][0] == "notes"
    with pytest.raises(ParseError, match="its metadata has 32769 bytes as JSON; at most 32768"):
        build_document(parsed(32_756), source=source(), key=None)


def test_metadata_cannot_claim_another_file() -> None:
    block = ParsedBlock(kind="paragraph", text="x")
    claim = (("graftwork.\0file", "file:///etc/passwd"),)
    made = build_document(ParsedDocument(title=None, blocks=(block,), metadata=claim), source=source(), key=None)
    assert made.metadata == ()
