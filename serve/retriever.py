"""The retriever: embeds the questions of many requests together and asks Milvus; embeds clients' texts.

It is a deployment of its own, which all engine replicas ask over a handle, or lives in the process of each of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar, cast

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from indexer.errors import GraftworkError, InputError, UnavailableError
from indexer.filters import Filter
from indexer.passages import SearchResult
from indexer.rerank.mixing import Rerank
from indexer.search import Searcher, open_searcher
from indexer.settings import IndexerSettings
from serve.batching import Batches
from serve.breaker import Breaker
from serve.embeddings import Embedded, EmbeddingRequest
from serve.portions import Portions
from serve.remembered_results import RememberedResults

_Answer = TypeVar("_Answer")

logger = logging.getLogger("graftwork.serve")

# Calls in a row that a collection does not answer until it is left alone, and for how many seconds.
FAILURES, OPEN_S = 3, 2.0
# Seconds that a client's texts wait for those of others to share a pass; a question waits for nothing.
TEXTS_WAIT_S = 0.002


@dataclass(frozen=True, slots=True)
class Query:
    """One question to one collection.

    Attributes:
        text: The question.
        collection: Alias of the collection.
        tenant: Whose rows may be seen; set by the server, never by the client.
        k: Passages wanted.
        dense_weight: 1 dense only, 0 BM25 only, between a weighted hybrid.
        section_weight: Share of its section in a passage's rank. Where neither weight is given, those kept with the
            collection count.
        rerank: How the head of the ranking is ordered anew, if it is.
        only: Filter on the passages that may be found.
        neighbours: Chunks to each side that every passage grows by.
    """

    text: str
    collection: str
    tenant: str
    k: int
    dense_weight: float | None
    section_weight: float | None
    rerank: Rerank | None = None
    only: Filter | None = None
    neighbours: int = 0


class FailedQueryError(UnavailableError):
    """A query that a model or the store fails at: it says nothing about whether the collection answers others."""


class Retrieval(Protocol):
    """What the serving graph needs of a retriever."""

    async def retrieve(self, query: Query) -> SearchResult:
        """Passages for one question; raises GraftworkError."""


class Embedding(Protocol):
    """What POST /v1/embeddings needs of a retriever."""

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """Vectors of a request's texts; raises GraftworkError."""


class Retriever:
    """Answers questions in batches and embeds texts in portions, both across requests; a class that Serve deploys."""

    def __init__(
        self, settings: IndexerSettings, *, max_batch: int, remembered: int = 0, results_s: float = 0.0
    ) -> None:
        """Load the embedder, and the reranker if there is one; Milvus is reached by the first query.

        Args:
            settings: Where the collections are and which models ask them.
            max_batch: Queries answered together at most.
            remembered: Queries whose vectors are kept, and as many results.
            results_s: Seconds for which results are kept.

        Raises:
            GraftworkError: One of them cannot be loaded.
        """
        searcher = open_searcher(settings, cross_encoder=True, remembered=remembered)
        kept = RememberedResults[SearchResult](size=remembered, seconds=results_s)
        self._batches = Batches(partial(answer_batch, searcher, breakers={}, kept=kept), size=max_batch)
        self._portions = Portions(searcher.embedder, wait_s=TEXTS_WAIT_S)

    async def retrieve(self, query: Query) -> SearchResult | GraftworkError:
        """Answer a question, in a batch with those of others; its error is a result of its own, not the batch's end."""
        return await self._batches.ask(query)

    async def embed(self, request: EmbeddingRequest) -> Embedded | InputError:
        """Embed a request's texts, in portions with those of others; a call that is given up costs no further one."""
        try:
            return await self._portions.embed(request)
        except InputError as error:
            return error


def answer_batch(
    searcher: Searcher, queries: Sequence[Query], *, breakers: dict[str, Breaker], kept: RememberedResults[SearchResult]
) -> list[SearchResult | GraftworkError]:
    """Search for every query, those that ask the same collection the same way in one call.

    While a collection does not answer, most are told so at once: who answers without a context need not wait for it.

    Args:
        searcher: Asks the store.
        queries: What it is asked.
        breakers: A breaker for each collection that was asked before; new ones are added.
        kept: Results of earlier queries, by query and generation; new ones are added.
    """
    groups: dict[Query, list[int]] = defaultdict(list)
    for position, query in enumerate(queries):
        groups[replace(query, text="")].append(position)
    answers: dict[int, SearchResult | GraftworkError] = {}
    for positions in groups.values():
        asked = [queries[position] for position in positions]
        collection = asked[0].collection
        if collection not in breakers:
            breakers[collection] = Breaker(f"Collection '{collection}'", failures=FAILURES, open_s=OPEN_S)
        answers.update(zip(positions, _guarded(searcher, asked, breaker=breakers[collection], kept=kept), strict=True))
    return [answers[position] for position in range(len(queries))]


def _guarded(
    searcher: Searcher, queries: Sequence[Query], *, breaker: Breaker, kept: RememberedResults[SearchResult]
) -> Sequence[SearchResult | GraftworkError]:
    try:
        breaker.enter()
    except UnavailableError as error:
        return [error] * len(queries)
    answers = _remembered(searcher, queries, kept=kept) if kept.on else _answer_group(searcher, queries)
    breaker.leave(failed=all(_is_away(answer) for answer in answers))
    return answers


def _remembered(
    searcher: Searcher, queries: Sequence[Query], *, kept: RememberedResults[SearchResult]
) -> Sequence[SearchResult | GraftworkError]:
    began = time.perf_counter()
    try:
        generation = searcher.generation(queries[0].collection)
    except GraftworkError as error:
        return [error] * len(queries)
    except Exception:  # whatever Milvus's client raises; the search of each tells what it means for it
        logger.exception(
            "the generation of collection %s is not known, so no result is remembered", queries[0].collection
        )
        return _answer_group(searcher, queries)
    spent_ms = (time.perf_counter() - began) * 1000
    found = {query: result for query in queries if (result := kept.get((query, generation))) is not None}
    answers: dict[Query, SearchResult | GraftworkError] = {
        query: replace(result, embed_ms=0.0, search_ms=spent_ms, rerank_ms=0.0) for query, result in found.items()
    }
    new = [query for query in dict.fromkeys(queries) if query not in found]
    for query, answer in zip(new, _answer_group(searcher, new) if new else (), strict=True):
        answers[query] = answer
        if isinstance(answer, SearchResult):
            kept.put((query, answer.generation), answer)
    return [answers[query] for query in queries]


def _is_away(answer: SearchResult | GraftworkError) -> bool:
    return isinstance(answer, UnavailableError) and not isinstance(answer, FailedQueryError)


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
            only=first.only,
            neighbours=first.neighbours,
        )
    except GraftworkError as error:
        return [error] * len(queries)
    except Exception as error:  # whatever Milvus's client or the tokenizer raises is that query's answer
        if len(queries) > 1:
            return [answer for query in queries for answer in _answer_group(searcher, [query])]
        logger.exception("a query to collection %s failed", first.collection)
        return [FailedQueryError(f"Collection '{first.collection}' did not answer: {type(error).__name__}: {error}")]


class LocalRetrieval:
    """A retriever in this very process."""

    def __init__(self, retriever: Retriever) -> None:
        """Take the retriever."""
        self._retriever = retriever

    async def retrieve(self, query: Query) -> SearchResult:
        """Passages for one question; raises GraftworkError as the retriever reports it."""
        return _given(await self._retriever.retrieve(query))

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """Vectors of a request's texts; raises GraftworkError as the retriever reports it."""
        return _given(await self._retriever.embed(request))


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
        return _given(answer)


def _given(answer: _Answer | GraftworkError) -> _Answer:
    if isinstance(answer, GraftworkError):
        raise answer
    return answer
