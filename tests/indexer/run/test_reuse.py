from __future__ import annotations

import numpy as np

from indexer.run.reuse import StoredVectors
from indexer.store.milvus import MilvusStore
from indexer.store.schema import TEXT_MAX_BYTES
from tests.indexer.making import chunk, unit_vectors


def test_vectors_are_found_by_the_text_that_was_embedded_with_documents_that_are_alike(store: MilvusStore) -> None:
    made = store.ensure_generation("reused", embedder="m@1", dimension=8)
    vectors = unit_vectors(4)
    texts = ["kept", "gone", "elsewhere", "x" * TEXT_MAX_BYTES]
    documents = ["d/old.md", "d/old.md", "d/unlike.md", "d/old.md"]
    stored = [
        chunk(text, document_id=name, ordinal=n) for n, (text, name) in enumerate(zip(texts, documents, strict=True))
    ]
    store.upsert(made.physical, stored, vectors, tenant="t")
    store.upsert(made.physical, [chunk("foreign", document_id="d/old.md")], unit_vectors(1, seed=1), tenant="other")

    reuse = StoredVectors(store=store, physical=made.physical, tenant="t", alike={"d/new.md": "d/old.md"})
    asked = [
        chunk(text, document_id="d/new.md", ordinal=n)
        for n, text in enumerate(["first", "elsewhere", "foreign", "kept", "x" * TEXT_MAX_BYTES])
    ]
    found = reuse.find(asked)
    assert list(found) == [asked[3].chunk_id]
    np.testing.assert_allclose(found[asked[3].chunk_id], vectors[0], atol=1e-6)
    assert reuse.find([chunk("kept", document_id="d/stranger.md")]) == {}
