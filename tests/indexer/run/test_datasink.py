from __future__ import annotations

import pickle

import pytest
from pymilvus.exceptions import MilvusException
from ray.data.datasource.datasink import WriteResult

from indexer.errors import InputError
from indexer.run.datasink import MilvusDatasink, WriteOutcome
from indexer.run.tables import chunks_to_table, with_vectors
from indexer.store.milvus import MilvusStore
from indexer.types import FailedDocument
from tests.indexer.making import chunk, unit_vectors


def test_arguments_are_checked_before_anything_is_opened() -> None:
    store = MilvusStore("http://127.0.0.1:1")
    with pytest.raises(InputError, match="physical"):
        MilvusDatasink(store=store, physical="alias", tenant="t", batch_size=1)
    with pytest.raises(InputError, match="batch_size"):
        MilvusDatasink(store=store, physical="c__g1", tenant="t", batch_size=0)
    with pytest.raises(InputError, match="Tenant"):
        MilvusDatasink(store=store, physical="c__g1", tenant="", batch_size=1)


def test_a_repeated_task_changes_nothing_and_the_outcome_is_per_document(store: MilvusStore) -> None:
    made = store.ensure_generation("sink", embedder="m@1", dimension=8)
    sink = pickle.loads(pickle.dumps(MilvusDatasink(store=store, physical=made.physical, tenant="t", batch_size=2)))
    failed = FailedDocument(uri="file:///x", stage="parse", reason="bad")
    items = [chunk(f"t{n}", ordinal=n, document_id=f"d/{n % 2}", chunk_count=3) for n in range(5)]
    tables = [with_vectors(chunks_to_table([*items, failed]), unit_vectors(5)), chunks_to_table([])]
    first, second = sink.write(tables, None), sink.write(tables, None)
    assert store.count(made.physical) == 5
    assert first == second
    assert {name: (done.rows, done.chunk_count) for name, done in first.documents.items()} == {
        "d/0": (3, 3),
        "d/1": (2, 3),
    }
    assert (first.failures, first.embedded) == ([failed], 5)
    assert [first.is_whole(name) for name in ("d/0", "d/1", "d/2")] == [True, False, False]
    sink.on_write_complete(WriteResult(num_rows=6, size_bytes=1, write_returns=[first, WriteOutcome()]))
    assert (sink.outcome.rows, sink.outcome.embedded) == (5, 5)


def test_what_milvus_refuses_costs_its_document_and_no_other(store: MilvusStore) -> None:
    made = store.ensure_generation("refusing", embedder="m@1", dimension=8)
    items = [
        chunk("a0", document_id="d/a"),
        chunk("b0", document_id="d/b", chunk_count=2),
        chunk("b1", document_id="d/b", ordinal=1, chunk_count=2, chunk_id="x" * 65),
        chunk("c0", document_id="d/c"),
    ]
    table = with_vectors(chunks_to_table(items), unit_vectors(4))
    for batch_size in (4, 1):
        outcome = MilvusDatasink(store=store, physical=made.physical, tenant="t", batch_size=batch_size).write(
            [table],
            None,  # type: ignore[arg-type]
        )
        assert outcome.documents.keys() == {"d/a", "d/c"}
        assert outcome.embedded == (2 if batch_size == 4 else 3)
        assert outcome.refused.keys() == {"d/b"}
        assert outcome.refused["d/b"].file == "file:///docs/a.md"
        assert "refuses it (upsert into refusing__g1: " in outcome.refused["d/b"].reason
        assert "length 65 exceeds max_length=64" in outcome.refused["d/b"].reason
    assert {row.document_id for row in store.scan(made.physical, tenant="t")} == {"d/a", "d/b", "d/c"}


def test_a_missing_collection_ends_the_writing(store: MilvusStore) -> None:
    sink = MilvusDatasink(store=store, physical="nowhere__g1", tenant="t", batch_size=2)
    table = with_vectors(chunks_to_table([chunk("a"), chunk("b", document_id="d/b")]), unit_vectors(2))
    with pytest.raises(MilvusException, match="nowhere__g1"):
        sink.write([table], None)  # type: ignore[arg-type]
