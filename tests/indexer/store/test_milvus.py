from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError, NotFoundError, UnavailableError
from indexer.sources.provenance import FILE_FIELD
from indexer.store.milvus import MilvusStore
from indexer.store.schema import (
    PARTITIONS,
    SCHEMA_VERSION,
    collection_indexes,
    collection_properties,
    collection_schema,
)
from indexer.types import Identity
from tests.indexer.conftest import free_port, start_milvus, wait_until_listening
from tests.indexer.making import chunk, unit_vectors

EMBEDDER = "model@aaaa"
AWAY_S = 3.0


def make(store: MilvusStore, alias: str) -> str:
    made = store.ensure_generation(alias, embedder=EMBEDDER, dimension=8)
    store.point_alias(alias, made.physical)
    return made.physical


def test_a_generation_appears_under_its_alias_only_when_pointed_at(store: MilvusStore) -> None:
    made = store.ensure_generation("appearing", embedder=EMBEDDER, dimension=8)
    assert (made.physical, made.number, made.embedder, made.dimension) == ("appearing__g1", 1, EMBEDDER, 8)
    with pytest.raises(NotFoundError, match="appearing"):
        store.locate("appearing")
    assert store.ensure_generation("appearing", embedder=EMBEDDER, dimension=8) == made
    store.point_alias("appearing", made.physical)
    store.point_alias("appearing", made.physical)
    assert store.locate("appearing") == made
    assert store.count(made.physical) == 0


@pytest.mark.parametrize("indexed", [(), ("dense",), ("dense", "sparse")])
def test_a_generation_that_was_made_in_part_is_completed(store: MilvusStore, indexed: tuple[str, ...]) -> None:
    """pymilvus makes, indexes and loads a collection by three calls."""
    identity, client = Identity(EMBEDDER, 8, "", (), SCHEMA_VERSION), store.client()
    physical = f"made_in_part_{len(indexed)}__g1"
    client.create_collection(
        physical,
        schema=collection_schema(identity),
        num_partitions=PARTITIONS,
        properties=collection_properties(identity),
    )
    if indexed:
        client.create_index(physical, collection_indexes(indexed))
    made = store.ensure_generation(physical.removesuffix("__g1"), embedder=EMBEDDER, dimension=8)
    assert sorted(client.list_indexes(physical)) == ["dense", "sparse"]
    store.upsert(physical, [chunk("words")], unit_vectors(1), tenant="t")
    assert [len(found) for found in store.search_dense(physical, unit_vectors(1), tenant="t", k=3)] == [1]
    assert [len(found) for found in store.search_text(physical, ["words"], tenant="t", k=3)] == [1]
    assert made.physical == physical


def test_another_embedder_is_refused_with_both_names(store: MilvusStore) -> None:
    make(store, "owned")
    with pytest.raises(InputError, match=r"model@aaaa.*other@bbbb"):
        store.ensure_generation("owned", embedder="other@bbbb", dimension=8)


def test_the_same_weights_under_another_name_are_accepted(store: MilvusStore) -> None:
    make(store, "renamed_model")
    store.ensure_generation("renamed_model", embedder="elsewhere@aaaa", dimension=8)


def test_a_foreign_collection_is_not_touched(store: MilvusStore) -> None:
    store.client().create_collection("foreign", dimension=4)
    with pytest.raises(ConflictError, match="foreign"):
        store.ensure_generation("foreign", embedder=EMBEDDER, dimension=8)
    store.client().create_collection("taken__g1", dimension=4)
    with pytest.raises(ConflictError, match="Graftwork did not make it"):
        store.ensure_generation("taken", embedder=EMBEDDER, dimension=8)


def test_upsert_is_idempotent_and_passages_come_back_whole(store: MilvusStore) -> None:
    physical = make(store, "whole")
    chunks = [
        chunk(f"text {number} é", ordinal=number, page=number or None, start=10 * number, end=10 * number + 8)
        for number in range(5)
    ]
    vectors = unit_vectors(5)
    for _ in range(2):
        store.upsert(physical, [*chunks, chunks[0]], [*vectors, vectors[0]], tenant="t")  # type: ignore[arg-type]
    assert store.count(physical) == 5
    best = store.search_dense(physical, vectors[3:4], tenant="t", k=2)[0][0]
    assert best.score == pytest.approx(1.0, abs=1e-4)
    assert (best.chunk_id, best.document_id, best.ordinal, best.page) == (chunks[3].chunk_id, "docs/a.md", 3, 3)
    assert (best.title, best.heading_path, best.uri) == ("A title", ("One", 'Two "quoted"'), "file:///docs/a.md")
    assert (best.text, best.start, best.end) == ("text 3 é", 30, 38)
    first = store.search_dense(physical, vectors[:1], tenant="t", k=1)[0][0]
    assert first.page is None


def test_tenants_are_kept_apart_whatever_their_names(store: MilvusStore) -> None:
    physical = make(store, "tenants")
    names = ["a", 'b" or tenant == "a', "c\\", "d'é"]
    vectors = unit_vectors(1)
    for name in names:
        store.upsert(physical, [chunk(f"secret of {name}", tenant=name)], vectors, tenant=name)
    for name in names:
        assert [p.text for p in store.search_dense(physical, vectors, tenant=name, k=10)[0]] == [f"secret of {name}"]
        assert [p.text for p in store.search_text(physical, ["secret"], tenant=name, k=10)[0]] == [f"secret of {name}"]
        assert [place.document_id for place in store.places(physical, tenant=name)] == ["docs/a.md"]
        assert store.count(physical, tenant=name) == 1
        assert len(list(store.scan(physical, tenant=name))) == 1
    assert store.count(physical) == len(names)


def test_scan_and_delete(store: MilvusStore) -> None:
    physical = make(store, "scanned")
    chunks = [chunk(f"text {n}", ordinal=n, document_id=f"d/{n % 3}", document_hash=f"h{n % 3}") for n in range(30)]
    store.upsert(physical, chunks, unit_vectors(30), tenant="t")
    rows = list(store.scan(physical, tenant="t"))
    assert sorted(row.chunk_id for row in rows) == sorted(made.chunk_id for made in chunks)
    assert {row.file for row in rows} == {"file:///docs/a.md"}
    some = list(store.scan(physical, tenant="t", document_ids=["d/1", "d/2"]))
    assert {row.document_id for row in some} == {"d/1", "d/2"}
    store.delete_chunks(physical, [row.chunk_id for row in some], tenant="another")
    assert store.count(physical, tenant="t") == 30
    assert store.delete_chunks(physical, [row.chunk_id for row in some], tenant="t", batch=7) == 20
    assert store.count(physical, tenant="t") == 10
    assert list(store.scan(physical, tenant="nobody")) == []


def test_a_scan_tells_the_file_of_a_document_with_an_address_of_its_own(store: MilvusStore) -> None:
    physical = make(store, "addressed")
    told = chunk("fed", uri="https://farm.example/feed", metadata=((FILE_FIELD, "file:///docs/f.jsonl"),))
    store.upsert(physical, [told], unit_vectors(1), tenant="t")
    assert [row.file for row in store.scan(physical, tenant="t")] == ["file:///docs/f.jsonl"]


def test_bm25_finds_words_of_headings_and_text(store: MilvusStore) -> None:
    physical = make(store, "words")
    chunks = [
        chunk(f"filler {n}", ordinal=n, search_text="Zebra care\n\nfeed hay" if n == 4 else f"other\n\nfiller {n}")
        for n in range(9)
    ]
    store.upsert(physical, chunks, unit_vectors(9), tenant="t")
    found = store.search_text(physical, ["zebra", "no such words here"], tenant="t", k=3)
    assert [passage.ordinal for passage in found[0]] == [4]
    assert found[1] == ()


def test_places_tell_document_and_headings_of_every_chunk(store: MilvusStore) -> None:
    physical = make(store, "places")
    chunks = [chunk("with", ordinal=0), chunk("without", ordinal=1, heading_path=())]
    store.upsert(physical, chunks, unit_vectors(2), tenant="t")
    found = {place.chunk_id: (place.document_id, place.heading_path) for place in store.places(physical, tenant="t")}
    assert found == {made.chunk_id: ("docs/a.md", made.heading_path) for made in chunks}


def test_pickle_leaves_the_connection_out(store: MilvusStore) -> None:
    make(store, "pickled")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.uri == store.uri
    assert copy.locate("pickled") == store.locate("pickled")
    copy.close()


def test_rows_survive_a_killed_server_and_its_absence_is_noticed_quickly(tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    process = start_milvus(tmp_path, port)
    try:
        wait_until_listening(uri, timeout_s=30)
        store = MilvusStore(uri, timeout_s=2)
        physical = make(store, "lasting")
        store.upsert(physical, [chunk("kept")], unit_vectors(1), tenant="t")
        process.kill()
        process.wait()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=uri):
            store.count(physical)
        assert time.monotonic() - began < 8
        process = start_milvus(tmp_path, port)
        wait_until_listening(uri, timeout_s=30)
        store.close()
        assert store.count(physical) == 1
        store.close()
    finally:
        process.kill()
        process.wait()


def test_a_collection_is_found_again_after_the_server_was_stopped_and_started(tmp_path: Path) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    process = start_milvus(tmp_path, port)
    try:
        wait_until_listening(uri, timeout_s=30)
        store = MilvusStore(uri, timeout_s=5)
        physical = make(store, "resting")
        store.upsert(physical, [chunk("kept")], unit_vectors(1), tenant="t")
        store.flush(physical)
        store.close()
        process.terminate()
        process.wait()
        process = start_milvus(tmp_path, port)
        wait_until_listening(uri, timeout_s=30)
        ((passage,),) = store.search_dense(physical, unit_vectors(1), tenant="t", k=1)
        assert passage.chunk_id == chunk("kept").chunk_id
        ((passage,),) = store.search_text(physical, ["kept"], tenant="t", k=1)
        assert passage.chunk_id == chunk("kept").chunk_id
        store.close()
    finally:
        process.kill()
        process.wait()


def test_the_tenant_is_the_partition_key(store: MilvusStore) -> None:
    fields = store.client().describe_collection(make(store, "partitioned"))["fields"]
    assert [field["name"] for field in fields if field.get("is_partition_key")] == ["tenant"]


@pytest.fixture
def restarting(tmp_path: Path) -> Iterator[tuple[MilvusStore, Callable[[], None]]]:
    """A patient store with 5,000 rows, and what stops its server and starts it again after AWAY_S."""
    port = free_port()
    opened = MilvusStore(f"http://127.0.0.1:{port}", timeout_s=1)
    servers = [start_milvus(tmp_path, port)]
    threads: list[threading.Thread] = []

    def start_again() -> None:
        time.sleep(AWAY_S)
        servers.append(start_milvus(tmp_path, port))

    def stop_for_a_while() -> None:
        servers[-1].terminate()
        servers[-1].wait(timeout=20)
        threads.append(threading.Thread(target=start_again))
        threads[-1].start()

    try:
        wait_until_listening(opened.uri, timeout_s=30)
        physical = make(opened, "patient")
        cut = [chunk(f"text {n}", ordinal=n) for n in range(5000)]
        for start in range(0, 5000, 1000):
            opened.another().upsert(physical, cut[start : start + 1000], unit_vectors(1000), tenant="t")
        opened.flush(physical)
        yield opened.another(patient=True), stop_for_a_while
    finally:
        for thread in threads:
            thread.join()
        servers[-1].terminate()
        servers[-1].wait(timeout=20)


def test_a_scan_goes_on_behind_its_last_row_after_a_restart(
    restarting: tuple[MilvusStore, Callable[[], None]],
) -> None:
    store, stop_for_a_while = restarting
    rows = store.scan("patient__g1", tenant="t")
    seen = [next(rows).chunk_id]
    stop_for_a_while()
    seen += [row.chunk_id for row in rows]
    assert (len(seen), len(set(seen))) == (5000, 5000)


@pytest.mark.slow
@pytest.mark.long
def test_calls_that_may_be_made_twice_outlast_a_restart(restarting: tuple[MilvusStore, Callable[[], None]]) -> None:
    store, stop_for_a_while = restarting
    key = next(store.scan("patient__g1", tenant="t")).chunk_id
    stop_for_a_while()
    assert store.count("patient__g1", tenant="t") == 5000
    for call in (
        lambda: store.flush("patient__g1"),
        lambda: store.delete_chunks("patient__g1", [key], tenant="t"),
        lambda: store.point_alias("patient", "patient__g1"),
        lambda: store.read_letters("patient", tenant="t"),
        lambda: store.read_claims("patient"),
    ):
        stop_for_a_while()
        call()
    assert store.count("patient__g1", tenant="t") == 4999
