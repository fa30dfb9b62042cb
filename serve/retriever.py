"""The retriever deployment: embeds the questions of many requests together and asks Milvus."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from ray import serve

from indexer.errors import GraftworkError
from indexer.passages import SearchResult
from indexer.search import Searcher, open_searcher
from indexer.settings import IndexerSettings


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one collection.

    Attributes:
        text: The question.
        collection: Alias of the collection.
        tenant: Whose rows may be seen; set by the server, never by the client.
        k: Passages wanted.
        dense_weight: 1 dense only, 0 BM25 only, between a weighted hybrid.
    """

    text: str
    collection: str
    tenant: str
    k: int
    dense_weight: float


class Retrieval(Protocol):
    """What the serving graph needs of a retriever."""

    async def retrieve(self, query: Query) -> SearchResult:
        """Passages for one question; raises GraftworkError."""


class _Batching(Protocol):
    """What `serve.batch` adds to a method, which its annotations do not say."""

    def set_max_batch_size(self, new_max_batch_size: int) -> None: ...

    def set_batch_wait_timeout_s(self, new_batch_wait_timeout_s: float) -> None: ...


class Retriever:
    """Ray Serve deployment class; `retrieve` is batched by Serve across requests."""

    def __init__(self, settings: IndexerSettings, *, max_batch: int, batch_wait_s: float) -> None:
        """Load the embedder and connect to Milvus.

        Args:
            settings: Where the collections are and which embedder asks them.
            max_batch: Queries answered together at most.
            batch_wait_s: Seconds a query waits for others to join its batch.

        Raises:
            UnavailableError: Milvus cannot be reached.
        """
        self._searcher = open_searcher(settings)
        batching = cast("_Batching", self.retrieve)
        batching.set_max_batch_size(max_batch)
        batching.set_batch_wait_timeout_s(batch_wait_s)

    @serve.batch
    async def retrieve(self, queries: list[Query]) -> list[SearchResult | GraftworkError]:
        """Answer a batch; an error of one collection is that query's result, not the batch's end."""
        return await asyncio.to_thread(answer_batch, self._searcher, queries)


def answer_batch(searcher: Searcher, queries: Sequence[Query]) -> list[SearchResult | GraftworkError]:
    """Search for every query, those that ask the same collection the same way in one call."""
    groups: dict[tuple[str, str, int, float], list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        groups[query.collection, query.tenant, query.k, query.dense_weight].append(position)
    answers: dict[int, SearchResult | GraftworkError] = {}
    for (collection, tenant, k, dense_weight), positions in groups.items():
        try:
            results = searcher.search(
                [queries[position].text for position in positions],
                collection=collection,
                tenant=tenant,
                k=k,
                dense_weight=dense_weight,
            )
        except GraftworkError as error:
            answers.update(dict.fromkeys(positions, error))
        else:
            answers.update(zip(positions, results, strict=True))
    return [answers[position] for position in range(len(queries))]
