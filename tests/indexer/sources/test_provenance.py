from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from indexer.errors import ConflictError
from indexer.run.state import Moved
from indexer.sources.provenance import (
    FILE_FIELD,
    FORMER_FIELD,
    check_owners,
    existing_files,
    stored_file,
    stored_former,
    with_file,
)
from indexer.sources.uris import file_path

LONG = "file:///" + "x" * 2100


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("file:///d/a.md", "file:///d/a.md"),
        ("file:///d/f.jsonl#key #2", "file:///d/f.jsonl"),
        ("https://farm.example/feed#top", "file:///d/f.jsonl"),
        ("file:///another/address", "file:///d/f.jsonl"),
        ("file:///d/f.jsonl#\ud800", "file:///d/f.jsonl"),
        (LONG, LONG),
    ],
)
def test_the_file_of_a_row_is_known_whatever_address_its_document_has(uri: str, file: str) -> None:
    metadata = dict(with_file([("author", "Ada"), (FILE_FIELD, "file:///false")], uri=uri, file=file))
    assert metadata["author"] == "Ada"
    for stored in (metadata, json.dumps(metadata)):
        assert stored_file(uri[:2048], stored) == file


def test_only_what_the_address_does_not_tell_is_added() -> None:
    assert with_file([], uri="file:///d/f.jsonl#a", file="file:///d/f.jsonl") == ()


def test_a_former_name_is_told_by_rows_alone() -> None:
    assert stored_former({FORMER_FIELD: "docs/old.md"}) == stored_former('{"graftwork.former": "docs/old.md"}')
    assert stored_former({"author": "Ada"}) is None
    assert with_file([(FORMER_FIELD, "false")], uri="file:///d/a.md", file="file:///d/a.md") == ()


def test_a_row_may_not_tell() -> None:
    assert stored_file("https://farm.example", {}) is None


def test_files_are_found_by_their_uris(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 #1?.md")
    odd.write_text("x")
    assert file_path(odd.as_uri()) == odd
    gone = {(tmp_path / "gone.md").as_uri(), (odd / "below-a-file").as_uri()}
    assert existing_files({odd.as_uri(), *gone}) == {odd.as_uri()}


def test_a_file_that_cannot_be_looked_at_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    uri = (tmp_path / "x").as_uri()
    assert existing_files([uri]) == {uri}


def test_another_file_that_exists_is_not_replaced(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(folder)
    stored, now = tmp_path / "a" / "README.md", tmp_path / "b" / "README.md"
    moved = [Moved("docs/README.md", stored.as_uri(), now.as_uri())] * 3
    with pytest.raises(ConflictError) as caught:
        check_owners(moved, collection="handbook")
    assert all(
        part in str(caught.value) for part in (str(stored), str(now), "'docs/README.md'", "'handbook'", "2 more")
    )
    stored.unlink()
    check_owners(moved, collection="handbook")
    os.link(now, stored)
    check_owners(moved, collection="handbook")
