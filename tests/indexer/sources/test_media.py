from __future__ import annotations

import io
import time
from zipfile import ZIP_STORED, ZipFile

import pytest

from indexer.parsers.ooxml import OLE2
from indexer.sources.media import SNIFF_BYTES, detect, why_not
from tests.indexer.parsers.making import make_docx, make_xlsx

CSV, HTML, JSON, JSON_LINES = "text/csv", "text/html", "application/json", "application/jsonl"
MARKDOWN, PDF, PLAIN, POD = "text/markdown", "application/pdf", "text/plain", "text/x-pod"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.md", b"# A", MARKDOWN),
        ("A.MARKDOWN", b"", MARKDOWN),
        ("a.htm", b"text", HTML),
        ("a.jsonl", b"{}", JSON_LINES),
        ("a.pod", b"=head1", POD),
        ("a.csv", b"a,b", CSV),
        ("a.json", b'{"a": 1}', JSON),
        ("a.txt", b"words", PLAIN),
        ("README", b"words", PLAIN),
        ("empty.txt", b"", PLAIN),
        ("a.py", b"print()", None),
    ],
)
def test_the_extension_counts(name: str, head: bytes, expected: str | None) -> None:
    assert detect(name, head) == expected


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.txt", b"%PDF-1.7\n", PDF),
        ("a.docx", b"%PDF-1.7\n", PDF),
        ("scan", b"%PDF-1.7\n", PDF),
        ("a.txt", b"\xef\xbb\xbf\n<!DOCTYPE html>", HTML),
        ("a.md", b"<!-- saved --><!doctype HTML><p>", HTML),
        ("a.csv", b"<html lang=en>Sign in", HTML),
        ("a", b"<?xml version='1.0'?><!-- c --><HTML lang=en>", HTML),
        ("page", b"=head1 NAME\n", POD),
        ("a.txt", b"x = 1\n=head1 no blank line before is fine\n", POD),
        ("a.md", b"text\n\n=head1 is no POD here\n", MARKDOWN),
        ("a.json", b'{"text": "one"}\n{"text": "two"}\n', JSON_LINES),
        ("a.json", b'{"text":\n  "one"}\n', JSON),
        ("a.jsonl", b'[{"text": "one"}]', JSON),
        ("a.txt", b"\xff\xfew\0o\0r\0d\0", PLAIN),
        ("a.txt", "words and more words".encode("utf-16-be"), PLAIN),
    ],
)
def test_content_counts_where_it_is_telling(name: str, head: bytes, expected: str) -> None:
    assert detect(name, head) == expected


def test_a_head_full_of_comments_is_quick() -> None:
    began = time.process_time()
    assert detect("a.txt", b"<!---->" * 1000 + b"text") == PLAIN
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.txt", "a.zip", "a.doc", "a.pdf", "a", "a.md"])
def test_office_files_are_told_apart_by_their_parts(name: str) -> None:
    assert detect(name, make_docx("Text")[:SNIFF_BYTES]) == DOCX
    assert detect(name, make_xlsx([["a"]])[:SNIFF_BYTES]) == XLSX


@pytest.mark.parametrize("first", ["[Content_Types].xml", "word/document.xml", "docProps/app.xml"])
def test_the_order_of_the_parts_does_not_matter(first: str) -> None:
    source = ZipFile(io.BytesIO(make_docx("Text")))
    turned = io.BytesIO()
    with ZipFile(turned, "w", ZIP_STORED) as out:
        for name in sorted(source.namelist(), key=lambda name: name != first):
            out.writestr(name, source.read(name))
    assert detect("a.zip", turned.getvalue()[:SNIFF_BYTES]) == DOCX


def test_other_zip_files_are_no_documents() -> None:
    for name in ("notes/a.txt", "ppt/presentation.xml", "mimetype"):
        packed = io.BytesIO()
        with ZipFile(packed, "w") as out:
            out.writestr(name, b"text" * 100)
        assert detect("a.zip", packed.getvalue()) is None
        assert detect("a.md", packed.getvalue()) is None


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.pdf"])
@pytest.mark.parametrize("head", [b"damaged", b"\0\1\2", OLE2, b"PK\x03\x04\0", b""])
def test_a_damaged_document_goes_to_its_parser_to_be_reported(name: str, head: bytes) -> None:
    assert detect(name, head) == detect(name, b"")


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("a.doc", OLE2 + b"\0" * 100, "97-2003"),
        ("a.rtf", b"{\\rtf1\\ansi text", "RTF"),
        ("a.txt", b"{\\rtf1\\ansi text", "RTF"),
        ("a.txt", b"\x7fELF\0\0", "no parser"),
        ("a.md", b"\0\0\0", "no parser"),
        ("a.png", b"\x89PNG", "no parser"),
    ],
)
def test_what_cannot_be_read_has_a_reason(name: str, head: bytes, reason: str) -> None:
    assert detect(name, head) is None
    assert reason in why_not(head)
    assert ".docx" in why_not(head)
