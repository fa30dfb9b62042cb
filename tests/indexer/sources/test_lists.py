from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from indexer.sources.lists import read_lists


def test_one_source_per_line(tmp_path: Path) -> None:
    first, second = tmp_path / "1.txt", tmp_path / "2.txt"
    first.write_bytes(b"\xef\xbb\xbfdocs/a b.md\r\n\n  # words\n./#b.md\ns3://b/c.md")
    second.write_bytes(b"caf\xe9.md\n")
    assert read_lists([str(first), str(second)]) == [
        "docs/a b.md",
        "./#b.md",
        "s3://b/c.md",
        os.fsdecode(b"caf\xe9.md"),
    ]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a.md\nb.md\n")))
    assert read_lists(["-"]) == ["a.md", "b.md"]


def test_a_list_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty.txt names nothing"):
        read_lists([str(empty)])
    with pytest.raises(NotFoundError, match=r"absent.txt does not exist"):
        read_lists([str(tmp_path / "absent.txt")])
    with pytest.raises(InputError, match="Is a directory"):
        read_lists([str(tmp_path)])
