from __future__ import annotations

from pathlib import Path

import pytest

from indexer.run.state import KnownDocument
from indexer.sources.discovery import discover
from indexer.sources.recorded import recorded_files, source_of


@pytest.mark.parametrize(
    ("document_id", "path", "place"),
    [
        ("docs/a.md", "/srv/docs/a.md", ("docs/a.md", "/srv/docs")),
        ("docs/deep/a.md", "/srv/docs/deep/a.md", ("docs/deep/a.md", "/srv/docs")),
        ("docs/f.jsonl#one", "/srv/docs/f.jsonl", ("docs/f.jsonl", "/srv/docs")),
        ("docs/c#.md#k", "/docs/c#.md", ("docs/c#.md", "/docs")),
        ("docs/a.md", "/srv/moved/a.md", None),
        ("shortened~1234", "/srv/docs/a.md", None),
    ],
)
def test_the_id_and_the_file_tell_the_root(document_id: str, path: str, place: tuple[str, str] | None) -> None:
    found = source_of(document_id, Path(path))
    assert found == (None if place is None else (place[0], Path(place[1])))


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
        "bucket/x.md": KnownDocument(files=("s3://bucket/x.md",)),
    }
    found = recorded_files(remembered, taken={"docs/taken.txt"})
    assert found == [files["docs/deep/a b.md"], files["docs/f.jsonl"]]
