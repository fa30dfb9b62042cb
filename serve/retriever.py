"""The retriever deployment: embeds the questions of many requests together and asks Milvus."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, cast

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from indexer.errors import GraftworkError, InputError, UnavailableError
from indexer.passages import SearchResult
from indexer.rerank.mixing import Rerank
from indexer.search import Searcher, open_searcher
from indexer.settings import IndexerSettings
from serve.embeddings import Embedded, EmbeddingRequest, embed_all

logger = logging.getLogger("graftwork.serve")


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one collection.

    Attributes:
        text: The question.
        collection: Alias of the collection.
        tenant: Whose rows may be seen; set by the server, never by the client.
        k: Passages wanted.
        dense_weight: 1 dense only, 0 BM25 only, between a weighted hybrid.
        section_weight: Share of its section in a passage's rank.
        rerank: How the head of the ranking is ordered anew, if it is.
    """

    text: str
    collection: str
    tenant: str
    k: int
    dense_weight: float
    section_weight: float
    rerank: Rerank | None = None


class Retrieval(Protocol):
    """What the serving graph needs of a retriever."""

    async def retrieve(self, query: Query) -> SearchResult:
        """Passages for one question; raises GraftworkError."""


class Embedding(Protocol):
    """What POST /v1/embeddings needs of a retriever."""

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """Vectors of a request's texts; raises GraftworkError."""


class _Batching(Protocol):
    """What `serve.batch` adds to a method, which its annotations do not say."""

    def set_max_batch_size(self, new_max_batch_size: int) -> None: ...

    def set_batch_wait_timeout_s(self, new_batch_wait_timeout_s: float) -> None: ...


class Retriever:
    """Ray Serve deployment class; `retrieve` is batched by Serve across requests."""

    def __init__(self, settings: IndexerSettings, *, max_batch: int, batch_wait_s: float) -> None:
        """Load the embedder, and the reranker if there is one; Milvus is reached by the first query.

        Args:
            settings: Where the collections are and which models ask them.
            max_batch: Queries answered together at most.
            batch_wait_s: Seconds a query waits for others to join its batch.

        Raises:
            GraftworkError: One of them cannot be loaded.
        """
        self._searcher = open_searcher(settings, cross_encoder=True)
        for method in (self.retrieve, self.embed):
            batching = cast("_Batching", method)
            batching.set_max_batch_size(max_batch)
            batching.set_batch_wait_timeout_s(batch_wait_s)

    @serve.batch
    async def retrieve(self, queries: list[Query]) -> list[SearchResult | GraftworkError]:
        """Answer a batch; an error of one query or collection is a result of its own, not the batch's end."""
        return await asyncio.to_thread(answer_batch, self._searcher, queries)

    @serve.batch
    async def embed(self, requests: list[EmbeddingRequest]) -> list[Embedded | InputError]:
        """Embed the texts of a batch; an error of one request is a result of its own."""
        return await asyncio.to_thread(embed_all, self._searcher.embedder, requests)


def answer_batch(searcher: Searcher, queries: Sequence[Query]) -> list[SearchResult | GraftworkError]:
    """Search for every query, those that ask the same collection the same way in one call."""
    groups: dict[Query, list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        groups[replace(query, text="")].append(position)
    answers: dict[int, SearchResult | GraftworkError] = {}
    for positions in groups.values():
        answers.update(zip(positions, _answer_group(searcher, [queries[p] for p in positions]), strict=True))
    return [answers[position] for position in range(len(queries))]


def _answer_group(searcher: Searcher, queries: Sequence[Query]) -> Sequence[SearchResult | GraftworkError]:
    """Search for queries that differ in their text only; where one of them breaks the call, for each alone."""
    first = queries[0]
    try:
        return searcher.search(
            [query.text for query in queries],
            collection=first.collection,
            tenant=first.tenant,
            k=first.k,
            dense_weight=first.dense_weight,
            section_weight=first.section_weight,
            rerank=first.rerank,
        )
    except GraftworkError as error:
        return [error] * len(queries)
    except Exception as error:  # whatever Milvus's client or the tokenizer raises is that query's answer
        if len(queries) > 1:
            return [answer for query in queries for answer in _answer_group(searcher, [query])]
        logger.exception("a query to collection %s failed", first.collection)
        return [UnavailableError(f"Collection '{first.collection}' did not answer: {type(error).__name__}: {error}")]


RetrieverHandle: TypeAlias = "DeploymentHandle[Retriever]"


class RemoteRetrieval:
    """The retriever deployment, asked over its handle."""

    def __init__(self, handle: RetrieverHandle) -> None:
        """Take the deployment's handle."""
        self._handle = handle

    async def retrieve(self, query: Query) -> SearchResult:
        """Passages for one question; a call that is given up is cancelled at the retriever too.

        Raises:
            GraftworkError: What the retriever reported for the question.
            UnavailableError: The retriever is gone or failed.
        """
        return cast("SearchResult", await self._answer(self._handle.retrieve, query, what=query.collection))

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """Vectors of a request's texts; likewise.

        Raises:
            GraftworkError: What the retriever reported for the texts.
            UnavailableError: The retriever is gone or failed.
        """
        return cast("Embedded", await self._answer(self._handle.embed, request, what="embeddings"))

    async def _answer(self, method: DeploymentHandle[Retriever], asked: object, *, what: str) -> object:
        try:
            response = method.remote(asked)
            try:
                answer = cast("object", await response)
            except asyncio.CancelledError:
                with suppress(RayError, RayServeException):
                    response.cancel()  # awaiting it passes no cancellation on (ray/serve/handle.py)
                raise
        except (RayError, RayServeException) as error:
            raise UnavailableError(
                f"The retriever did not answer for '{what}': {type(error).__name__}: {error}"
            ) from error
        if isinstance(answer, GraftworkError):
            raise answer
        return answer
