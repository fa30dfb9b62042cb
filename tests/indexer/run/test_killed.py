"""kill -9 of the driver, of an embedding actor and of Milvus in the middle of a run: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest

from indexer.errors import UnavailableError
from indexer.run.pipeline import run_index
from indexer.run.report import IndexReport
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import free_port, start_milvus, wait_until_listening

ROOT = Path(__file__).parents[3]
DOCUMENTS, PARTS = 24, 10
BATCH = 16  # chunks per batch: a run of 240 chunks has a middle

pytestmark = pytest.mark.slow

Row = dict[str, object]


def write_documents(folder: Path) -> Path:
    folder.mkdir()
    for number in range(DOCUMENTS):
        parts = [
            f"## Part {part} of {number}\n\nSome words about pump {number} and part {part}." for part in range(PARTS)
        ]
        (folder / f"{number}.md").write_text("\n\n".join(parts))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("killed") / "docs")


@pytest.fixture(scope="module")
def undisturbed(folder: Path, milvus_uri: str, local_ray: None) -> dict[str, Row]:
    run(folder, "undisturbed", milvus_uri)
    found = rows(MilvusStore(milvus_uri), "undisturbed__g1")
    assert len(found) == DOCUMENTS * PARTS
    return found


def run(folder: Path, collection: str, milvus_uri: str) -> IndexReport:
    settings = IndexerSettings(milvus_uri=milvus_uri, embed_batch_size=BATCH)
    return run_index([folder], collection=collection, tenant="default", settings=settings)


def run_beside(folder: Path, collection: str, milvus_uri: str) -> Future[IndexReport]:
    """A run in a thread of its own."""
    future: Future[IndexReport] = Future()

    def work() -> None:
        try:
            future.set_result(run(folder, collection, milvus_uri))
        except BaseException as error:  # noqa: BLE001  raised again by the future
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def rows(store: MilvusStore, physical: str) -> dict[str, Row]:
    """All fields of all rows by key, but for the time of writing and what Milvus makes itself."""
    store.client().load_collection(physical)
    fields = [field["name"] for field in store.client().describe_collection(physical)["fields"]]
    kept = [name for name in fields if name not in ("updated_at", "sparse")]
    found = store.client().query(physical, filter='tenant == "default"', output_fields=kept, limit=16_000)
    return {str(row["chunk_id"]): dict(row) for row in found}


def assert_equal(found: dict[str, Row], wanted: dict[str, Row]) -> None:
    """Every row is there with every field; vectors differ by what the batches that they were computed in make out."""
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        other = wanted[key]
        np.testing.assert_allclose(row["dense"], other["dense"], atol=5e-3)  # type: ignore[arg-type]
        assert {**row, "dense": None} == {**other, "dense": None}


def wait_for_rows(store: MilvusStore, collection: str, *, ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not any(store.count(made.physical) for made in store.generations(collection)):
        assert not ended(), "the run ended before a row was seen"
        assert time.monotonic() < deadline, "no row was written"
        time.sleep(0.05)


def wait_until_more(store: MilvusStore, physical: str, *, than: int, ended: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while store.count(physical) <= than:
        assert not ended(), "the run ended before a row was added"
        assert time.monotonic() < deadline, "no row was added"
        time.sleep(0.02)


def start_driver(folder: Path, collection: str, milvus_uri: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "GRAFTWORK_INDEXER__MILVUS_URI": milvus_uri, "HF_HUB_OFFLINE": "1",
        "GRAFTWORK_INDEXER__EMBED_BATCH_SIZE": str(BATCH),
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-m", "indexer", str(folder), "--collection", collection],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent,
    )  # fmt: skip


def test_a_killed_driver_is_succeeded_at_once(
    folder: Path, store: MilvusStore, milvus_uri: str, undisturbed: dict[str, Row]
) -> None:
    killed = start_driver(folder, "driver", milvus_uri)
    wait_for_rows(store, "driver", ended=lambda: killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert store.resolve("driver") is None
    assert len(store.read_claims("driver")) == 1
    assert 0 < len(rows(store, "driver__g1")) < DOCUMENTS * PARTS

    successor = start_driver(folder, "driver", milvus_uri)
    stdout, stderr = successor.communicate(timeout=300)
    assert successor.returncode == 0, stderr
    assert json.loads(stdout.splitlines()[-1])["documents"]["failed"] == 0
    assert_equal(rows(store, store.locate("driver").physical), undisturbed)
    assert store.read_claims("driver") == []


@pytest.mark.long
def test_a_killed_embedding_actor_is_replaced_in_the_same_run(
    folder: Path, store: MilvusStore, milvus_uri: str, undisturbed: dict[str, Row]
) -> None:
    running = run_beside(folder, "actor", milvus_uri)
    wait_for_rows(store, "actor", ended=running.done)
    actors = [child for child in psutil.Process().children(recursive=True) if "EmbedChunks" in cmdline(child)]
    assert actors
    for actor in actors:
        actor.kill()
    report = running.result(timeout=300)
    assert (report.documents.new, report.documents.failed) == (DOCUMENTS, 0)
    assert_equal(rows(store, store.locate("actor").physical), undisturbed)


@pytest.mark.long
def test_a_run_whose_milvus_was_killed_stops_and_goes_on_later(
    folder: Path, tmp_path: Path, undisturbed: dict[str, Row]
) -> None:
    port = free_port()
    uri, server = f"http://127.0.0.1:{port}", start_milvus(tmp_path / "milvus", port)
    store = MilvusStore(uri)
    try:
        wait_until_listening(uri, timeout_s=30)
        running = run_beside(folder, "server", uri)
        wait_for_rows(store, "server", ended=running.done)
        server.kill()
        server.wait()
        with pytest.raises(UnavailableError, match=uri):
            running.result(timeout=300)
        server = start_milvus(tmp_path / "milvus", port)
        wait_until_listening(uri, timeout_s=30)
        store.close()
        assert 0 < len(rows(store, "server__g1")) < DOCUMENTS * PARTS
        report = run(folder, "server", uri)
        assert report.documents.unchanged + report.documents.changed > 0
        assert report.chunks.embedded < DOCUMENTS * PARTS
        assert_equal(rows(store, store.locate("server").physical), undisturbed)
    finally:
        store.close()
        server.terminate()
        server.wait(timeout=20)


@pytest.mark.long
def test_a_driver_that_was_killed_while_documents_changed_leaves_no_old_row(
    tmp_path: Path, store: MilvusStore, milvus_uri: str, undisturbed: dict[str, Row]
) -> None:
    folder = write_documents(tmp_path / "docs")
    run(folder, "changing", milvus_uri)
    for number in range(0, DOCUMENTS, 2):
        file = folder / f"{number}.md"
        file.write_text(file.read_text().replace("Some words", "Other words"))
    live = store.locate("changing").physical
    killed = start_driver(folder, "changing", milvus_uri)
    wait_until_more(store, live, than=DOCUMENTS * PARTS, ended=lambda: killed.poll() is not None)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(rows(store, live)) > DOCUMENTS * PARTS, "old rows and new ones stand side by side"

    report = run(folder, "changing", milvus_uri)
    assert (report.documents.unchanged, report.documents.failed) == (DOCUMENTS // 2, 0)
    run(folder, "changed", milvus_uri)
    found = rows(store, live)
    assert_equal(found, rows(store, store.locate("changed").physical))
    assert found.keys() != undisturbed.keys()


def cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
