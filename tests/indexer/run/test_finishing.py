"""Old rows are deleted only by who holds the lease at that moment."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from indexer.errors import ConflictError
from indexer.run import finishing
from indexer.run.finishing import finish_documents
from indexer.store import holding as leases
from indexer.store.holding import Lease
from indexer.store.milvus import MilvusStore
from tests.indexer.making import chunk, plan, running, unit_vectors, written


class Disturbed(MilvusStore):
    """Something happens after its flush, or after its first delete."""

    lease: Lease
    flush_lasts: bool = False
    overtaken: bool = False

    def flush(self, physical: str) -> None:
        super().flush(physical)
        while self.flush_lasts and not self.lease.overdue:
            time.sleep(0.05)

    def delete_chunks(self, *arguments: object, **options: object) -> int:
        deleted = super().delete_chunks(*arguments, **options)  # type: ignore[arg-type]
        if self.overtaken:
            claim = self.lease.claim
            self.write_claim(replace(claim, key=f"{claim.key}2", number=claim.number + 1, host="far", machine="far"))
        return deleted


def rows(store: MilvusStore, alias: str) -> int:
    """Three documents in an old version and one of them in a new one, and one document that is gone."""
    made = store.ensure_generation(alias, embedder="m@1", dimension=8)
    old = [chunk("old", document_id=f"d/{n}", document_hash="h0") for n in range(3)]
    cut = [*old, chunk("new", document_id="d/0"), chunk("gone", document_id="d/gone")]
    store.upsert(made.physical, cut, unit_vectors(len(cut)), tenant="t")
    return len(cut)


def finish(store: Disturbed, alias: str) -> int:
    made = store.ensure_generation(alias, embedder="m@1", dimension=8)
    names = [f"d/{n}" for n in range(3)]
    with running(store, alias) as run:
        store.lease = run.lease
        return finish_documents(run, plan(changed=names), written(*names), made=made, tenant="t", gone=["d/gone"])


def test_old_rows_and_those_of_gone_documents_are_deleted(store: MilvusStore) -> None:
    total = rows(store, "finished")
    assert finish(Disturbed(store.uri), "finished") == 4
    assert store.count("finished__g1", tenant="t") == total - 4 == 1


def test_a_flush_that_outlives_the_lease_is_followed_by_no_delete(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 3.0)
    total = rows(store, "flushed")
    slow = Disturbed(store.uri)
    slow.flush_lasts = True
    with pytest.raises(ConflictError, match="lost its lease"):
        finish(slow, "flushed")
    assert store.count("flushed__g1", tenant="t") == total


def test_who_is_overtaken_between_two_deletes_stops_there(store: MilvusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "_ROWS_AT_ONCE", 2)
    total = rows(store, "overtaken")
    overtaken = Disturbed(store.uri)
    overtaken.overtaken = True
    with pytest.raises(ConflictError, match=r"lost its lease and stopped: process .* on far"):
        finish(overtaken, "overtaken")
    assert store.count("overtaken__g1", tenant="t") == total - 2
