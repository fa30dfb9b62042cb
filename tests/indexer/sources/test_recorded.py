from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from indexer.run.state import KnownDocument
from indexer.sources.discovery import discover
from indexer.sources.recorded import failed_files, folders_are_here, recorded_files, source_of
from indexer.sources.stores import filesystem
from indexer.store.letters import DeadLetter
from tests.s3 import S3Server


@pytest.mark.parametrize(
    ("document_id", "uri", "source_id"),
    [
        ("docs/a.md", "file:///srv/docs/a.md", "docs/a.md"),
        ("docs/deep/a.md", "file:///srv/docs/deep/a.md", "docs/deep/a.md"),
        ("docs/f.jsonl#one", "file:///srv/docs/f.jsonl", "docs/f.jsonl"),
        ("docs/c#.md#k", "file:///docs/c%23.md", "docs/c#.md"),
        ("docs/a.md", "file:///srv/moved/a.md", None),
        ("shortened~1234", "file:///srv/docs/a.md", None),
        ("bucket/docs/a.md", "s3://bucket/docs/a.md", "bucket/docs/a.md"),
        ("bucket/docs/f.jsonl#one", "s3://bucket/docs/f.jsonl", "bucket/docs/f.jsonl"),
        ("docs/a.md", "s3://bucket/docs/a.md", None),
    ],
)
def test_the_id_and_the_uri_tell_the_source(document_id: str, uri: str, source_id: str | None) -> None:
    assert source_of(document_id, uri) == source_id


def test_remembered_files_are_read_again_as_they_were_discovered(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    (root / "deep").mkdir(parents=True)
    for name in ("deep/a b.md", "f.jsonl", "taken.txt"):
        (root / name).write_text('{"id": "1", "text": "words"}\n')
    files = {file.source_id: file for file in discover([root]).files}
    remembered = {
        "docs/deep/a b.md": KnownDocument(files=(files["docs/deep/a b.md"].uri,)),
        "docs/f.jsonl#1": KnownDocument(files=("file:///gone/docs/f.jsonl", files["docs/f.jsonl"].uri)),
        "docs/f.jsonl#2": KnownDocument(files=(files["docs/f.jsonl"].uri,)),
        "docs/taken.txt": KnownDocument(files=(files["docs/taken.txt"].uri,)),
        "docs/gone.md": KnownDocument(files=((root / "gone.md").as_uri(),)),
        "docs/untold.md": KnownDocument(),
        "site/x.md": KnownDocument(files=("https://site/x.md",)),
    }
    found = recorded_files(remembered, taken={"docs/taken.txt"})
    assert found == [files["docs/deep/a b.md"], files["docs/f.jsonl"]]


def test_remembered_objects_are_read_again(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    filesystem.cache_clear()
    s3.start_with("docs")
    s3.put("docs", "deep/a b.md", "words")
    remembered = {
        "docs/deep/a b.md": KnownDocument(files=(f"s3://docs/deep/a%20b.md{s3.query}",)),
        "docs/gone.md": KnownDocument(files=(f"s3://docs/gone.md{s3.query}",)),
    }
    [found] = recorded_files(remembered, taken=())
    assert (found.source_id, found.bytes, found.media_type) == ("docs/deep/a b.md", 5, "text/markdown")


def test_a_store_that_is_away_is_not_a_store_without_objects() -> None:
    away = "s3://docs/a.md?endpoint_override=127.0.0.1:1&scheme=http&anonymous=true"
    with pytest.raises(UnavailableError, match="s3://docs"):
        recorded_files({"docs/a.md": KnownDocument(files=(away,))}, taken=())


def test_files_of_dead_letters_are_sources_under_their_old_ids_and_absent_ones_are_gone(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    there, absent = tmp_path / "docs" / "deep" / "f.jsonl", tmp_path / "docs" / "x.pdf"
    there.write_text('{"text": "words"}\n')
    letters = [
        dead_letter(there, "docs/deep/f.jsonl", key="#1"),
        dead_letter(there, "docs/deep/f.jsonl", key="#2"),
        dead_letter(absent, "docs/x.pdf"),
    ]
    found = failed_files(letters)
    assert [(file.source_id, file.uri) for file in found.files] == [("docs/deep/f.jsonl", there.as_uri())]
    assert (found.gone, found.skipped, found.failures) == ({absent.as_uri()}, {"gone": 1}, ())


def test_a_root_folder_is_here_or_not_whatever_became_of_what_lay_in_it(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    root.mkdir()
    gone = (root / "deep" / "a b.md").as_uri()
    assert folders_are_here("docs/deep/a b.md", [gone])
    assert folders_are_here("docs/deep/a b.md#L1", [gone, "s3://docs/deep/a%20b.md"])
    assert not folders_are_here("docs/deep/a b.md", [gone, "file:///another/machine/docs/deep/a%20b.md"])
    assert not folders_are_here("deep/shortened~0", [gone])


def test_a_file_that_no_parser_reads_any_more_fails_again(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_bytes(b"\x7fELF\0\0")
    [failure] = failed_files([dead_letter(file, "docs/a.md")]).failures
    assert (failure.uri, failure.source_id, failure.stage) == (file.as_uri(), "docs/a.md", "parse")


def dead_letter(path: Path, source_id: str, key: str = "") -> DeadLetter:
    file, when = path.as_uri(), "2026-01-01T00:00:00+00:00"
    return DeadLetter(file + key, file, source_id, stage="parse", reason="bad", first=when, last=when, attempts=1)
