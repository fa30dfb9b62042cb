"""Queries in, passages out: dense, BM25 or a weighted mix of both."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.embedder import Embedder, open_embedder
from indexer.errors import InputError
from indexer.passages import Passage, SearchResult
from indexer.settings import IndexerSettings
from indexer.store.filters import check_tenant
from indexer.store.generation import check_embedder
from indexer.store.milvus import MilvusStore
from indexer.types import Generation

MAX_K = 1000  # far above any use, far below Milvus's 16,384


class Searcher:
    """Searches collections of one store with one embedder; safe under threads."""

    def __init__(self, *, store: MilvusStore, embedder: Embedder) -> None:
        """Keep the store and the embedder; nothing is asked of the store yet."""
        self._store = store
        self._embedder = embedder

    def search(
        self, queries: Sequence[str], *, collection: str, tenant: str, k: int, dense_weight: float = 1.0
    ) -> list[SearchResult]:
        """Return the best passages for each query, in the order of the queries.

        All queries are embedded in one batch and asked in one call. The answer may be shorter than `k`, or empty.

        Args:
            queries: Questions; none may be blank.
            collection: Alias of the collection.
            tenant: Whose rows may be found.
            k: Passages per query, 1 to 1000.
            dense_weight: 1.0 is dense only, 0.0 is BM25 only, between is a weighted mix.

        Raises:
            NotFoundError: No such collection.
            InputError: An argument out of range, or a collection made by another embedder; both are named.
            UnavailableError: Milvus does not answer.
        """
        _check(queries, k=k, dense_weight=dense_weight)
        check_tenant(tenant)
        if not queries:
            return []
        began = time.perf_counter()
        made = self._store.locate(collection)
        located = time.perf_counter()
        check_embedder(made, embedder=self._embedder.identity)
        vectors = self._embedder.encode_queries(queries) if dense_weight > 0 else None
        embedded = time.perf_counter()
        found = self._ask(made, queries, vectors, tenant=tenant, k=k, dense_weight=dense_weight)
        done = time.perf_counter()
        return [
            SearchResult(
                passages=passages,
                collection=collection,
                generation=made.number,
                embed_ms=(embedded - located) * 1000,
                search_ms=(located - began + done - embedded) * 1000,
            )
            for passages in found
        ]

    def _ask(
        self,
        made: Generation,
        queries: Sequence[str],
        vectors: NDArray[np.float32] | None,
        *,
        tenant: str,
        k: int,
        dense_weight: float,
    ) -> list[tuple[Passage, ...]]:
        if vectors is None:
            found = self._store.search_text(made.physical, queries, tenant=tenant, k=k)
        elif dense_weight == 1.0:
            found = self._store.search_dense(made.physical, vectors, tenant=tenant, k=k)
        else:
            found = self._store.search_hybrid(
                made.physical, queries, vectors, tenant=tenant, k=k, dense_weight=dense_weight
            )
        return found + [() for _ in range(len(queries) - len(found))]


def open_searcher(settings: IndexerSettings) -> Searcher:
    """Return a searcher with the settings' store and embedder; the model is loaded now, Milvus is reached later."""
    return Searcher(store=open_store(settings), embedder=open_embedder(settings))


def open_store(settings: IndexerSettings) -> MilvusStore:
    """Return the store that the settings name; nothing is opened yet."""
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else None
    return MilvusStore(settings.milvus_uri, token, timeout_s=settings.milvus_timeout_s)


def _check(queries: Sequence[str], *, k: int, dense_weight: float) -> None:
    if isinstance(queries, str):
        raise InputError("queries is one string; give a list of questions.")
    for query in queries:
        if not query.strip():
            raise InputError("A query is blank; ask something.")
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; give 1 to {MAX_K}.")
    if not 0.0 <= dense_weight <= 1.0:
        raise InputError(f"dense_weight is {dense_weight}; give 0.0 (BM25 only) to 1.0 (dense only).")
