"""Milvus on a disk that fills in the middle of a run: one sentence, and what was stored counts when it is run again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from indexer.run.pipeline import run_index
from indexer.run.report import IndexReport
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import milvus_lite

DOCUMENTS, PARTS = 12, 20
DISK_BYTES, FREE_BYTES = 64 * 2**20, 400 * 2**10  # the vectors alone are 720 KiB

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk of its own needs the right to mount one")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def milvus(disk: Path) -> Iterator[str]:
    with milvus_lite(disk / "milvus") as uri:
        yield uri


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(tmp_path: Path, disk: Path, milvus: str) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(DOCUMENTS):
        parts = [f"## Part {part} of {number}\n\n" + f"Valve {number} of pump {part}. " * 30 for part in range(PARTS)]
        (folder / f"{number}.md").write_text("\n\n".join(parts))

    def run() -> IndexReport:
        settings = IndexerSettings(milvus_uri=milvus, embed_batch_size=16)
        return run_index([folder], collection="pumps", tenant="t", settings=settings)

    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - FREE_BYTES))
    with pytest.raises(UnavailableError, match=f"{milvus} cannot write to its disk .*No space left on device"):
        run()
    store = MilvusStore(milvus)
    assert store.resolve("pumps") is None
    filler.unlink()
    report = run()
    assert (report.documents.seen, report.documents.failed) == (DOCUMENTS, 0)
    found = store.list_documents(store.locate("pumps").physical, tenant="t")
    assert len(found) == DOCUMENTS
    assert store.count(store.locate("pumps").physical) == sum(document.chunk_count for document in found)
    store.close()
