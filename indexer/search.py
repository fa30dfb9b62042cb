"""Queries in, passages out: dense, BM25 or a weighted mix of both, with or without a word from the section and from a
reranker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.embedder import Embedder, open_embedder
from indexer.embedding.remembered import RememberedVectors
from indexer.errors import InputError
from indexer.filters import Filter
from indexer.fusion import blend, keywords, with_sections
from indexer.joining import joined
from indexer.passages import MAX_NEIGHBOURS, Candidates, Passage, SearchResult
from indexer.rerank.cross_encoder import CrossEncoderReranker
from indexer.rerank.late_interaction import LateInteraction
from indexer.rerank.mixing import Rerank, RerankBy, Reranker, mix, rerank_text
from indexer.settings import IndexerSettings
from indexer.store.expressions import check_tenant
from indexer.store.generation import check_embedder
from indexer.store.milvus import MilvusStore
from indexer.store.options import StoreOptions
from indexer.types import FusionWeights, Generation, StoredChunk

MAX_K = 1000  # far above any use, far below Milvus's 16,384
CANDIDATES = 200  # per search, where its ranking is not the last word; measured better than 100, and than 400 no worse


@dataclass(frozen=True, slots=True)
class _Located:
    """The generation behind an alias, and the milliseconds that finding it took."""

    made: Generation
    ms: float


class Searcher:
    """Searches collections of one store with one embedder; safe under threads."""

    def __init__(
        self,
        *,
        store: MilvusStore,
        embedder: Embedder,
        rerankers: Mapping[RerankBy, Reranker] | None = None,
        remembered: int = 0,
    ) -> None:
        """Keep what is needed; nothing is asked of the store yet.

        Args:
            store: Where passages are.
            embedder: What embeds the queries.
            rerankers: What can order anew, besides late interaction.
            remembered: Queries whose vectors are kept, those asked latest.
        """
        self._store = store
        self._embedder = embedder
        self._encode = RememberedVectors(embedder.encode_queries, size=remembered)
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
        dense_weight: float | None = None,
        section_weight: float | None = None,
        rerank: Rerank | None = None,
        only: Filter | None = None,
        neighbours: int = 0,
    ) -> list[SearchResult]:
        """Return the best passages for each query, in the order of the queries.

        All queries are embedded in one batch and asked in one call. The answer may be shorter than `k`, or empty.

        Args:
            queries: Questions; none may be blank.
            collection: Alias of the collection.
            tenant: Whose rows may be found.
            k: Passages per query, 1 to 1000.
            dense_weight: 1.0 is dense only, 0.0 is BM25 only, between is a weighted mix.
            section_weight: Share of its section in a passage's score: 0.0 is none; see `indexer.fusion.fuse`. Where
                neither weight is given, they are those that were kept with the collection, else those of dense alone.
            rerank: How the head is ordered anew; None leaves it as it is.
            only: Filter on the passages that may be found; None is all of the tenant's.
            neighbours: Chunks to each side that every passage grows by; those that meet become one, so that there may
                be fewer than `k`.

        Raises:
            NotFoundError: No such collection.
            InputError: An argument out of range, no such reranker here, or a collection made by another embedder; both
                are named.
            UnavailableError: Milvus does not answer.
        """
        _check(queries, k=k, dense_weight=dense_weight, section_weight=section_weight)
        if not 0 <= neighbours <= MAX_NEIGHBOURS:
            raise InputError(f"neighbours is {neighbours}; give 0 to {MAX_NEIGHBOURS}.")
        if rerank is not None:
            self._reranker(rerank.by)
        check_tenant(tenant)
        if not queries:
            return []
        located = self._locate(collection)
        weights = chosen_weights(located.made.advised, dense=dense_weight, section=section_weight)
        plain = weights.section == 0.0 and weights.dense in (0.0, 1.0) and rerank is None
        found = self._candidates(
            queries,
            located,
            tenant=tenant,
            depth=k if plain else max(CANDIDATES, k),
            dense=weights.dense > 0.0,
            text=weights.dense < 1.0,
            only=only,
        )
        results = []
        for query, each in zip(queries, found, strict=True):
            passages, rerank_ms = each.dense or each.text, 0.0  # where one search alone decides, it keeps its scores
            if not plain:
                passages = blend(each.dense, each.text, dense_weight=weights.dense)
                if rerank is not None:
                    began = time.perf_counter()
                    scores = self.judge(query, passages[: rerank.depth], by=rerank.by)
                    passages = mix(passages, scores, weight=rerank.weight)
                    rerank_ms = (time.perf_counter() - began) * 1000
                passages = with_sections(passages, weight=weights.section)
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
        return self._grown(results, found, tenant=tenant, reach=neighbours) if neighbours else results

    def _grown(
        self, results: Sequence[SearchResult], found: Sequence[Candidates], *, tenant: str, reach: int
    ) -> list[SearchResult]:
        """Read the neighbours of all passages in one call for each collection that they are from."""
        began = time.perf_counter()
        beside: dict[str, tuple[StoredChunk, ...]] = {}
        for physical in {each.physical for each in found}:
            passages = [
                passage
                for result, each in zip(results, found, strict=True)
                if each.physical == physical
                for passage in result.passages
            ]
            beside |= self._store.neighbours(physical, passages, tenant=tenant, reach=reach)
        spent_ms = (time.perf_counter() - began) * 1000
        return [
            replace(result, passages=joined(result.passages, beside), search_ms=result.search_ms + spent_ms)
            for result in results
        ]

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
        self,
        queries: Sequence[str],
        *,
        collection: str,
        tenant: str,
        depth: int,
        dense: bool = True,
        text: bool = True,
        only: Filter | None = None,
    ) -> list[Candidates]:
        """Return what each search finds for each query, before the two are put together.

        Args:
            queries: Questions.
            collection: Alias of the collection.
            tenant: Whose rows may be found.
            depth: Passages per query and search.
            dense: Whether to search by embeddings.
            text: Whether to search by BM25.
            only: Filter on the passages that may be found.

        Raises:
            NotFoundError: No such collection.
            InputError: No tenant, or a collection made by another embedder; both are named.
            UnavailableError: Milvus does not answer.
        """
        check_tenant(tenant)
        if not queries:
            return []
        located = self._locate(collection)
        return self._candidates(queries, located, tenant=tenant, depth=depth, dense=dense, text=text, only=only)

    def generation(self, collection: str) -> int:
        """Return the number of the generation that a search of this collection would ask now.

        Raises:
            NotFoundError: No such collection.
            InputError: It was made by another embedder.
            UnavailableError: Milvus does not answer.
        """
        return self._locate(collection).made.number

    def _locate(self, collection: str) -> _Located:
        began = time.perf_counter()
        made = self._store.locate(collection)
        check_embedder(made, embedder=self._embedder.identity)
        return _Located(made, (time.perf_counter() - began) * 1000)

    def _candidates(
        self,
        queries: Sequence[str],
        located: _Located,
        *,
        tenant: str,
        depth: int,
        dense: bool,
        text: bool,
        only: Filter | None,
    ) -> list[Candidates]:
        made, began = located.made, time.perf_counter()
        vectors = self._encode(queries) if dense else None
        embedded = time.perf_counter()
        near: Sequence[tuple[Passage, ...]] = ()
        if vectors is not None:
            near = self._store.search_dense(made.physical, vectors, tenant=tenant, k=depth, only=only)
        worded: Sequence[tuple[Passage, ...]] = ()
        if text:
            asked = [keywords(query) for query in queries]
            worded = self._store.search_text(made.physical, asked, tenant=tenant, k=depth, only=only)
        done = time.perf_counter()
        return [
            Candidates(
                dense=near[number] if number < len(near) else (),
                text=worded[number] if number < len(worded) else (),
                generation=made.number,
                physical=made.physical,
                embed_ms=(embedded - began) * 1000,
                search_ms=located.ms + (done - embedded) * 1000,
            )
            for number in range(len(queries))
        ]


def chosen_weights(advised: FusionWeights | None, *, dense: float | None, section: float | None) -> FusionWeights:
    """Return the weights that a search uses: those it names; where it names neither, those kept with the collection.

    Args:
        advised: What an evaluation of the collection advised, if that was kept.
        dense: Named by the search, or None.
        section: Likewise; one that is named alone stands beside the other's plain default: they are chosen together.
    """
    if dense is None and section is None:
        return advised or FusionWeights()
    return FusionWeights(dense=1.0 if dense is None else dense, section=0.0 if section is None else section)


def open_searcher(
    settings: IndexerSettings, *, cross_encoder: bool, store: MilvusStore | None = None, remembered: int = 0
) -> Searcher:
    """Return a searcher with the settings' store and models; the models are loaded now, Milvus is reached later.

    Args:
        settings: Where the collections are and which models ask them.
        cross_encoder: Whether the model of `settings.reranker` is loaded too, where one is set.
        store: That of the settings, where it is open already.
        remembered: Queries whose vectors are kept.

    Raises:
        UnavailableError: A model is not there.
        InputError: The folder of a model is not one.
    """
    rerankers: dict[RerankBy, Reranker] = {}
    if settings.reranker and cross_encoder:
        rerankers["model"] = CrossEncoderReranker(settings.reranker, settings.embed_device, dtype=settings.embed_dtype)
    return Searcher(
        store=store or open_store(settings),
        embedder=open_embedder(settings),
        rerankers=rerankers,
        remembered=remembered,
    )


def open_store(settings: IndexerSettings) -> MilvusStore:
    """Return the store that the settings name; nothing is opened yet."""
    token = settings.milvus_token.get_secret_value() if settings.milvus_token else None
    options = StoreOptions(
        ca_file=settings.milvus_ca_file,
        consistency=settings.milvus_consistency,
        replicas=settings.milvus_replicas,
        hnsw_m=settings.hnsw_m,
        hnsw_ef_construction=settings.hnsw_ef_construction,
        hnsw_ef=settings.hnsw_ef,
    )
    return MilvusStore(settings.milvus_uri, token, timeout_s=settings.milvus_timeout_s, options=options)


def _check(queries: Sequence[str], *, k: int, dense_weight: float | None, section_weight: float | None) -> None:
    if isinstance(queries, str):
        raise InputError("queries is one string; give a list of questions.")
    for query in queries:
        if not query.strip():
            raise InputError("A query is blank; ask something.")
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; give 1 to {MAX_K}.")
    if dense_weight is not None and not 0.0 <= dense_weight <= 1.0:
        raise InputError(f"dense_weight is {dense_weight}; give 0.0 (BM25 only) to 1.0 (dense only).")
    if section_weight is not None and not 0.0 <= section_weight <= 1.0:
        raise InputError(f"section_weight is {section_weight}; give 0.0 (passages alone) to 1.0 (sections alone).")
