"""Searching Milvus: dense or BM25, within one tenant and a filter; one list of passages per query, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.filters import Filter
from indexer.passages import Passage
from indexer.store.client import StoreClient
from indexer.store.conditions import tenant_and_filter
from indexer.store.schema import PASSAGE_FIELDS, passage_from_row


class PassageSearch(StoreClient):
    """Searches one physical collection for one tenant."""

    def search_dense(
        self, physical: str, vectors: NDArray[np.float32], *, tenant: str, k: int, only: Filter | None = None
    ) -> list[tuple[Passage, ...]]:
        """Search by cosine similarity; scores lie in -1 to 1."""
        found = self._read(
            physical,
            lambda client: client.search(
                physical,
                data=list(vectors),
                anns_field="dense",
                filter=tenant_and_filter(tenant, only),
                limit=k,
                output_fields=PASSAGE_FIELDS,
                search_params={"metric_type": "COSINE", "params": {"ef": max(self._options.hnsw_ef, 2 * k)}},
                consistency_level=self._options.consistency.capitalize(),
                timeout=self._timeout_s,
            ),
        )
        return [_passages(hits) for hits in found]

    def search_text(
        self, physical: str, queries: Sequence[str], *, tenant: str, k: int, only: Filter | None = None
    ) -> list[tuple[Passage, ...]]:
        """Search by BM25 over title, headings and text; scores have no fixed range."""
        found = self._read(
            physical,
            lambda client: client.search(
                physical,
                data=list(queries),
                anns_field="sparse",
                filter=tenant_and_filter(tenant, only),
                limit=k,
                output_fields=PASSAGE_FIELDS,
                search_params={"metric_type": "BM25"},
                consistency_level=self._options.consistency.capitalize(),
                timeout=self._timeout_s,
            ),
        )
        return [_passages(hits, bm25=True) for hits in found]


def _passages(hits: Sequence[Mapping[str, object]], *, bm25: bool = False) -> tuple[Passage, ...]:
    """Return hits as passages; milvus-lite gives BM25 scores below zero, the server above, both best first."""
    found = []
    for hit in hits:
        entity = hit["entity"]
        assert isinstance(entity, Mapping)
        row = {**entity, "chunk_id": hit["chunk_id"]}
        score = float(str(hit["distance"]))
        found.append(passage_from_row(row, score=abs(score) if bm25 else score))
    return tuple(found)
