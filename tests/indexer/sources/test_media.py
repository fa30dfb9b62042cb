from __future__ import annotations

import pytest

from indexer.sources.media import HTML, JSON_LINES, MARKDOWN, PDF, PLAIN, POD, detect


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.md", b"# A", MARKDOWN),
        ("A.MARKDOWN", b"", MARKDOWN),
        ("a.html", b"text", HTML),
        ("a.jsonl", b"{}", JSON_LINES),
        ("a.pod", b"=head1", POD),
        ("a.pdf", b"damaged", PDF),
        ("a.txt", b"words", PLAIN),
        ("a.txt", b"%PDF-1.7\n", PDF),
        ("a.md", b"%PDF-1.7\n", PDF),
        ("a.txt", b"\xef\xbb\xbf\n<!DOCTYPE html>", HTML),
        ("a", b"<?xml version='1.0'?><!-- c --><HTML lang=en>", HTML),
        ("README", b"words", PLAIN),
        ("page", b"=head1 NAME\n", POD),
        ("a.txt", b"x = 1\n=head1 no blank line before is fine\n", POD),
        ("a.txt", b"\xff\xfew\0o\0r\0d\0", PLAIN),
        ("a.txt", b"\x7fELF\0\0", None),
        ("a.md", b"\0\0\0", None),
        ("a.py", b"print()", None),
        ("a.png", b"\x89PNG", None),
        ("empty.txt", b"", PLAIN),
    ],
)
def test_detect(name: str, head: bytes, expected: str | None) -> None:
    assert detect(name, head) == expected
