"""What interrupted builds left of other tenants; whole runs of two tenants are in test_building.py."""

from __future__ import annotations

from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.run.building import build_generation
from indexer.run.target import Target
from indexer.sources.discovery import Discovery
from indexer.store.milvus import MilvusStore
from indexer.types import Generation
from tests.indexer.making import chunk, running, unit_vectors

NOTHING = Discovery(files=(), failures=(), skipped={}, folders=(), unreadable=())


def begun(store: MilvusStore, alias: str, *, number: int) -> Generation:
    """A generation of which a build has written one whole document of the tenant red, and one in part."""
    made = store.ensure_generation(
        alias, embedder=resolve_embedder(EMBEDDED_NAME).identity, dimension=384, number=number
    )
    rows = [
        chunk("whole", document_id="red/whole.md", tenant="red"),
        chunk("half", document_id="red/half.md", tenant="red", chunk_count=2),
    ]
    store.upsert(made.physical, rows, unit_vectors(2, 384), tenant="red")
    return made


def build(store: MilvusStore, alias: str, *, number: int, live: Generation | None) -> int:
    with running(store, alias, tenant="blue") as run:
        build = build_generation(
            run,
            NOTHING,
            target=Target(number=number, live=live, because=(), begun=True),
            sync=False,
            allow_missing=False,
            questions=(),
        )
    return build.verification.chunks


def test_whole_documents_of_another_tenants_unfinished_first_run_are_kept(store: MilvusStore) -> None:
    made = begun(store, "two_firsts", number=1)
    assert build(store, "two_firsts", number=1, live=None) == 1
    assert store.resolve("two_firsts") == made.physical
    assert [found.document_id for found in store.list_documents(made.physical, tenant="red")] == ["red/whole.md"]


def test_rows_of_a_tenant_that_readers_do_not_see_any_more_do_not_come_back(store: MilvusStore) -> None:
    alias = "removed_tenant"
    live = store.ensure_generation(alias, embedder="m@1", dimension=8)
    store.point_alias(alias, live.physical)
    made = begun(store, alias, number=2)
    assert build(store, alias, number=2, live=live) == 0
    assert store.count(made.physical) == 0
