from __future__ import annotations

from pathlib import Path

import pytest

from indexer.bench.documents import change, changeable, copy_to, spread
from indexer.errors import InputError
from indexer.sources.discovery import discover
from indexer.types import SourceFile
from tests.indexer.parsers.test_pdf import make_pdf


@pytest.fixture
def files(tmp_path: Path) -> tuple[SourceFile, ...]:
    root = tmp_path / "given" / "docs"
    (root / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.md", "b #1.txt", "deep/c.md", "deep/d.txt", "e.md")):
        (root / name).write_text("A line.\n" * (number + 1))
    (root / "f.pdf").write_bytes(make_pdf("One page."))
    return discover([root]).files


def test_some_files_are_taken_at_even_distances(files: tuple[SourceFile, ...]) -> None:
    assert [file.source_id for file in spread(files, 3)] == ["docs/a.md", "docs/deep/c.md", "docs/e.md"]
    assert spread(files, None) == spread(files, 100) == list(files)


def test_a_copy_is_what_is_changed(files: tuple[SourceFile, ...], tmp_path: Path) -> None:
    copies = copy_to(tmp_path / "copy", files)
    assert [copy.relative_to(tmp_path / "copy").as_posix() for copy in copies] == [file.source_id for file in files]
    path = changeable(files, copies)
    assert path == tmp_path / "copy" / "docs/deep/c.md"
    before = path.read_text()
    change(path, number=0)
    once = path.read_text()
    change(path, number=1)
    assert len({before, once, path.read_text()}) == 3
    assert (tmp_path / "given/docs/deep/c.md").read_text() == before


def test_no_line_is_added_to_a_pdf(files: tuple[SourceFile, ...], tmp_path: Path) -> None:
    only = [file for file in files if file.source_id.endswith(".pdf")]
    assert changeable(only, copy_to(tmp_path / "copy", only)) is None


def test_objects_are_refused(tmp_path: Path) -> None:
    there = SourceFile(uri="s3://docs/a.md", media_type="text/markdown", bytes=1, source_id="docs/a.md")
    with pytest.raises(InputError, match=r"s3://docs/a\.md is in a bucket"):
        copy_to(tmp_path, [there])
