from __future__ import annotations

import numpy as np
import pytest

from indexer.passages import Passage
from indexer.store.expressions import tenant_and_places
from indexer.store.milvus import MilvusStore
from tests.indexer.making import chunk, unit_vectors

LONG = 6
ODD = 'd/b" or tenant == "other.md'


@pytest.fixture(scope="module")
def physical(milvus_uri: str) -> str:
    store = MilvusStore(milvus_uri)
    made = store.ensure_generation("beside", embedder="m@1", dimension=8)
    for tenant in ("t", "other"):
        chunks = [
            chunk(f"{document_id} {n} of {tenant}", document_id=document_id, ordinal=n, tenant=tenant, page=n + 1)
            for document_id in ("d/a.md", ODD)
            for n in range(LONG)
        ]
        store.upsert(made.physical, chunks, unit_vectors(len(chunks)), tenant=tenant)
    store.close()
    return made.physical


def passage(store: MilvusStore, physical: str, text: str, *, tenant: str = "t") -> Passage:
    (found,) = store.search_dense(physical, unit_vectors(1), tenant=tenant, k=100)
    return next(each for each in found if each.text == text)


def test_what_stands_beside_a_passage_comes_in_the_documents_order(store: MilvusStore, physical: str) -> None:
    middle = passage(store, physical, "d/a.md 3 of t")
    found = store.neighbours(physical, [middle], tenant="t", reach=2)
    assert list(found) == [middle.chunk_id]
    beside = found[middle.chunk_id]
    assert [(each.ordinal, each.text) for each in beside] == [(n, f"d/a.md {n} of t") for n in (1, 2, 4, 5)]
    first = beside[0]
    assert (first.page, first.heading_path, first.end) == (2, ("One", 'Two "quoted"'), len(first.text))


def test_a_document_ends_where_it_ends(store: MilvusStore, physical: str) -> None:
    ends = [passage(store, physical, f"{ODD} {n} of t") for n in (0, LONG - 1)]
    found = store.neighbours(physical, ends, tenant="t")
    assert [[each.text for each in found[end.chunk_id]] for end in ends] == [[f"{ODD} 1 of t"], [f"{ODD} 4 of t"]]


def test_passages_of_several_documents_are_asked_for_together(
    store: MilvusStore, physical: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [passage(store, physical, f"{document_id} {n} of t") for document_id, n in (("d/a.md", 1), (ODD, 4))]
    together = store.neighbours(physical, several, tenant="t")
    assert {key: [each.ordinal for each in beside] for key, beside in together.items()} == {
        several[0].chunk_id: [0, 2], several[1].chunk_id: [3, 5]
    }  # fmt: skip
    monkeypatch.setattr("indexer.store.neighbours._DOCUMENTS", 1)
    assert store.neighbours(physical, several, tenant="t") == together


def test_another_tenants_chunks_are_not_read(store: MilvusStore, physical: str) -> None:
    own = passage(store, physical, "d/a.md 3 of t")
    assert store.neighbours(physical, [own], tenant="other") == {own.chunk_id: ()}
    assert store.neighbours(physical, [own], tenant="nobody") == {own.chunk_id: ()}
    assert store.neighbours(physical, [], tenant="t") == {}


def test_two_versions_of_a_document_are_not_mixed(store: MilvusStore) -> None:
    made = store.ensure_generation("versions", embedder="m@1", dimension=8)
    chunks = [chunk(f"{version} {n}", ordinal=n, document_hash=version) for version in ("h1", "h2") for n in range(4)]
    store.upsert(made.physical, chunks, np.asarray(unit_vectors(8)), tenant="t")
    asked = [passage(store, made.physical, text) for text in ("h1 1", "h2 1")]
    found = store.neighbours(made.physical, asked, tenant="t")
    assert [[each.text for each in found[each_asked.chunk_id]] for each_asked in asked] == [
        ["h1 0", "h1 2"], ["h2 0", "h2 2"]
    ]  # fmt: skip


def test_no_value_is_pasted_unescaped() -> None:
    assert tenant_and_places('a"b', {'d/"x"': [1, 2], "d/y": [0]}) == (
        r'tenant == "a\"b" and ((document_id in ["d/\"x\""] and ordinal in [1, 2]) '
        r'or (document_id in ["d/y"] and ordinal in [0]))'
    )
