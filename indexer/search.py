"""Queries in, passages out: dense, BM25 or a weighted mix of both, with or without a word from the section and from a
reranker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.embedder import Embedder, open_embedder
from indexer.errors import InputError
from indexer.fusion import blend, keywords, with_sections
from indexer.passages import Candidates, Passage, SearchResult
from indexer.rerank.cross_encoder import CrossEncoderReranker
from indexer.rerank.late_interaction import LateInteraction
from indexer.rerank.mixing import Rerank, RerankBy, Reranker, mix, rerank_text
from indexer.settings import IndexerSettings
from indexer.store.filters import check_tenant
from indexer.store.generation import check_embedder
from indexer.store.milvus import MilvusStore

MAX_K = 1000  # far above any use, far below Milvus's 16,384
CANDIDATES = 200  # per search, where its ranking is not the last word; measured better than 100, and than 400 no worse


class Searcher:
    """Searches collections of one store with one embedder; safe under threads."""

    def __init__(
        self, *, store: MilvusStore, embedder: Embedder, rerankers: Mapping[RerankBy, Reranker] | None = None
    ) -> None:
        """Keep the store, the embedder and what can order anew; nothing is asked of the store yet."""
        self._store = store
        self._embedder = embedder
        self._rerankers: dict[RerankBy, Reranker] = {"maxsim": LateInteraction(embedder), **(rerankers or {})}

    @property
    def embedder(self) -> Embedder:
        """What embeds the queries."""
        return self._embedder

    @property
    def rerankers(self) -> tuple[RerankBy, ...]:
        """What this searcher can order anew by."""
        return tuple(self._rerankers)

    def search(
        self,
        queries: Sequence[str],
        *,
        collection: str,
        tenant: str,
        k: int,
        dense_weight: float = 1.0,
        section_weight: float = 0.0,
        rerank: Rerank | None = None,
    ) -> list[SearchResult]:
        """Return the best passages for each query, in the order of the queries.

        All queries are embedded in one batch and asked in one call. The answer may be shorter than `k`, or empty.

        Args:
            queries: Questions; none may be blank.
            collection: Alias of the collection.
            tenant: Whose rows may be found.
            k: Passages per query, 1 to 1000.
            dense_weight: 1.0 is dense only, 0.0 is BM25 only, between is a weighted mix.
            section_weight: Share of its section in a passage's score: 0.0 is none; see `indexer.fusion.fuse`.
            rerank: How the head is ordered anew; None leaves it as it is.

        Raises:
            NotFoundError: No such collection.
            InputError: An argument out of range, no such reranker here, or a collection made by another embedder; both
                are named.
            UnavailableError: Milvus does not answer.
        """
        _check(queries, k=k, dense_weight=dense_weight, section_weight=section_weight)
        if rerank is not None:
            self._reranker(rerank.by)
        plain = section_weight == 0.0 and dense_weight in (0.0, 1.0) and rerank is None
        found = self.candidates(
            queries,
            collection=collection,
            tenant=tenant,
            depth=k if plain else max(CANDIDATES, k),
            dense=dense_weight > 0.0,
            text=dense_weight < 1.0,
        )
        results = []
        for query, each in zip(queries, found, strict=True):
            passages, rerank_ms = each.dense or each.text, 0.0  # where one search alone decides, it keeps its scores
            if not plain:
                passages = blend(each.dense, each.text, dense_weight=dense_weight)
                if rerank is not None:
                    began = time.perf_counter()
                    scores = self.judge(query, passages[: rerank.depth], by=rerank.by)
                    passages = mix(passages, scores, weight=rerank.weight)
                    rerank_ms = (time.perf_counter() - began) * 1000
                passages = with_sections(passages, weight=section_weight)
            results.append(
                SearchResult(
                    passages=passages[:k],
                    collection=collection,
                    generation=each.generation,
                    embed_ms=each.embed_ms,
                    search_ms=each.search_ms,
                    rerank_ms=rerank_ms,
                )
            )
        return results

    def judge(self, query: str, passages: Sequence[Passage], *, by: RerankBy) -> NDArray[np.float32]:
        """Return a reranker's scores of passages for a query, of shape [len(passages)].

        Raises:
            InputError: There is no such reranker here.
        """
        reranker = self._reranker(by)
        if not passages:
            return np.zeros(0, dtype=np.float32)
        return reranker.scores(query, [rerank_text(passage) for passage in passages])

    def _reranker(self, by: RerankBy) -> Reranker:
        if by not in self._rerankers:
            raise InputError(f"Reranking by {by!r} needs a cross-encoder; name one in the setting indexer.reranker.")
        return self._rerankers[by]

    def candidates(
        self, queries: Sequence[str], *, collection: str, tenant: str, depth: int, dense: bool = True, text: bool = True
    ) -> list[Candidates]:
        """Return what each search finds for each query, before the two are put together.

        Args:
            queries: Questions.
            collection: Alias of the collection.
            tenant: Whose rows may be found.
            depth: Passages per query and search.
            dense: Whether to search by embeddings.
            text: Whether to search by BM25.

        Raises:
            NotFoundError: No such collection.
            InputError: No tenant, or a collection made by another embedder; both are named.
            UnavailableError: Milvus does not answer.
        """
        check_tenant(tenant)
        if not queries:
            return []
        began = time.perf_counter()
        made = self._store.locate(collection)
        located = time.perf_counter()
        check_embedder(made, embedder=self._embedder.identity)
        vectors = self._embedder.encode_queries(queries) if dense else None
        embedded = time.perf_counter()
        near = [] if vectors is None else self._store.search_dense(made.physical, vectors, tenant=tenant, k=depth)
        asked = [keywords(query) for query in queries]
        worded = self._store.search_text(made.physical, asked, tenant=tenant, k=depth) if text else []
        done = time.perf_counter()
        return [
            Candidates(
                dense=near[number] if number < len(near) else (),
                text=worded[number] if number < len(worded) else (),
                generation=made.number,
                embed_ms=(embedded - located) * 1000,
                search_ms=(located - began + done - embedded) * 1000,
            )
            for number in range(len(queries))
        ]


def open_searcher(settings: IndexerSettings, *, cross_encoder: bool, store: MilvusStore | None = None) -> Searcher:
    """Return a searcher with the settings' store and models; the models are loaded now, Milvus is reached later.

    Args:
        settings: Where the collections are and which models ask them.
        cross_encoder: Whether the model of `settings.reranker` is loaded too, where one is set.
        store: That of the settings, where it is open already.

    Raises:
        UnavailableError: A model is not there.
        InputError: The folder of a model is not one.
    """
    rerankers: dict[RerankBy, Reranker] = {}
    if settings.reranker and cross_encoder:
        rerankers["model"] = CrossEncoderReranker(settings.reranker, settings.embed_device, dtype=settings.embed_dtype)
    return Searcher(store=store or open_store(settings), embedder=open_embedder(settings), rerankers=rerankers)


def open_store(settings: IndexerSettings) -> MilvusStore:
    """Return the store that the settings name; nothing is opened yet."""
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else None
    return MilvusStore(settings.milvus_uri, token, timeout_s=settings.milvus_timeout_s)


def _check(queries: Sequence[str], *, k: int, dense_weight: float, section_weight: float) -> None:
    if isinstance(queries, str):
        raise InputError("queries is one string; give a list of questions.")
    for query in queries:
        if not query.strip():
            raise InputError("A query is blank; ask something.")
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; give 1 to {MAX_K}.")
    if not 0.0 <= dense_weight <= 1.0:
        raise InputError(f"dense_weight is {dense_weight}; give 0.0 (BM25 only) to 1.0 (dense only).")
    if not 0.0 <= section_weight <= 1.0:
        raise InputError(f"section_weight is {section_weight}; give 0.0 (passages alone) to 1.0 (sections alone).")
