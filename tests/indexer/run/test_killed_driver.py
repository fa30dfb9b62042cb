"""kill -9 of the driver in the middle of a run, and the same command again at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexer.store.milvus import MilvusStore

ROOT = Path(__file__).parents[3]
DOCUMENTS, PARTS = 24, 10


def start(folder: Path, collection: str, milvus_uri: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "GRAFTWORK_INDEXER__MILVUS_URI": milvus_uri, "HF_HUB_OFFLINE": "1",
        "GRAFTWORK_INDEXER__EMBED_BATCH_SIZE": "16",
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-m", "indexer", str(folder), "--collection", collection],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    summary = json.loads(stdout.splitlines()[-1])
    assert isinstance(summary, dict)
    return summary


def rows(store: MilvusStore, physical: str) -> set[tuple[str, str, str]]:
    scanned = store.scan(physical, tenant="default")
    return {(row.chunk_id, row.document_id, row.document_hash) for row in scanned}


@pytest.mark.slow
def test_a_killed_driver_is_succeeded_at_once_and_the_collection_equals_an_undisturbed_one(
    tmp_path: Path, store: MilvusStore, milvus_uri: str
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(DOCUMENTS):
        parts = [
            f"## Part {part} of {number}\n\nSome words about pump {number} and part {part}." for part in range(PARTS)
        ]
        (folder / f"{number}.md").write_text("\n\n".join(parts))
    killed = start(folder, "disturbed", milvus_uri)
    deadline = time.monotonic() + 240
    while not any(store.count(made.physical) for made in store.generations("disturbed")):
        assert killed.poll() is None, killed.communicate()[1]
        assert time.monotonic() < deadline, "no row was written"
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert store.resolve("disturbed") is None
    assert len(store.read_claims("disturbed")) == 1
    left = len(rows(store, "disturbed__g1"))
    assert 0 < left < DOCUMENTS * PARTS

    summary = finish(start(folder, "disturbed", milvus_uri))
    assert summary["documents"]["failed"] == 0  # type: ignore[index]
    finish(start(folder, "undisturbed", milvus_uri))
    assert rows(store, "disturbed__g1") == rows(store, "undisturbed__g1")
    assert store.count(store.locate("disturbed").physical) == DOCUMENTS * PARTS
    assert store.read_claims("disturbed") == []
