from __future__ import annotations

from indexer.store.milvus import MilvusStore
from indexer.store.schema import VECTORS


def test_a_collection_says_of_what_kind_its_vectors_are(store: MilvusStore) -> None:
    made = store.ensure_generation("described", embedder="model@aaaa", dimension=8)
    properties = store.client().describe_collection(made.physical)["properties"]
    assert properties["graftwork.vectors"] == VECTORS == "float32 of unit length"
