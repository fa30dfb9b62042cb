"""Files that would harm, beside good ones, through a whole run with the limits that a user has."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import psutil
import pytest

from indexer.run.pipeline import run_index
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from tests.indexer.parsers.making import make_docx

MIB = 2**20
BOMB_BYTES, JSON_BYTES = 1024 * MIB, 200 * MIB
# Measured: 270 MiB in the workers that read, 800 MiB in the embedding actor, most of it torch and the model. The JSON
# held as a whole would add its 200 MiB, the bomb unpacked a GiB.
READER_BYTES, WORKER_BYTES = 400 * MIB, 1280 * MIB

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a-good.md").write_text("# Soil\n\nLime raises the pH of acid soil.\n")
    write_bomb(root / "bomb.docx")
    with (root / "line.json").open("wb") as out:
        out.write(b'{"words": [0')
        for _ in range(JSON_BYTES // MIB):
            out.write(b",1" * (MIB // 2))
        out.write(b"]}")
    (root / "nested.html").write_text("<ul><li><div>" * 10_000 + "deep")
    (root / "z-good.txt").write_text("Irrigate wheat twice a week in summer.\n")
    return root


def write_bomb(path: Path) -> None:
    """A DOCX whose text is a GiB of blanks, in a MiB."""
    with ZipFile(io.BytesIO(make_docx("Text"))) as source, ZipFile(path, "w", ZIP_DEFLATED) as out:
        for name in source.namelist():
            with out.open(name, "w") as part:
                part.write(source.read(name))
                for _ in range(BOMB_BYTES // MIB if name == "word/document.xml" else 0):
                    part.write(b" " * MIB)


@contextmanager
def watched_workers() -> Iterator[dict[str, int]]:
    """Most resident memory of each of Ray's workers while the block runs, by pid and title, in bytes."""
    most: dict[str, int] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            for child in psutil.Process().children(recursive=True):
                try:
                    title = " ".join(child.cmdline())[:60]
                    if title.startswith("ray::"):
                        name = f"{child.pid} {title}"
                        most[name] = max(most.get(name, 0), child.memory_info().rss)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def test_harmful_files_are_dead_letters_and_the_others_are_indexed(
    folder: Path, settings: IndexerSettings, store: MilvusStore
) -> None:
    with watched_workers() as most:
        report = run_index([folder], collection="hostile", tenant="default", settings=settings)
    letters = {letter.source_id: letter for letter in store.read_letters("hostile", tenant="default")}
    assert set(letters) == {"docs/bomb.docx", "docs/line.json"}
    assert report.dead_letters == report.documents.failed == 2
    assert "bytes when unpacked, more than the limit of 33554432 bytes" in letters["docs/bomb.docx"].reason
    assert "33554432 bytes" in letters["docs/line.json"].reason
    stored = {document.document_id for document in store.list_documents(
        store.locate("hostile").physical, tenant="default"
    )}  # fmt: skip
    assert stored == {"docs/a-good.md", "docs/nested.html", "docs/z-good.txt"}
    readers = [size for name, size in most.items() if "MapBatches(compare)" in name or "MapBatches(prepare)" in name]
    assert 0 < max(readers) < READER_BYTES, most
    assert max(most.values()) < WORKER_BYTES, most
