from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from pymilvus.exceptions import MilvusException
from ray.exceptions import ActorDiedError, RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from indexer.errors import GraftworkError, NotFoundError, UnavailableError
from indexer.passages import SearchResult
from indexer.rerank.mixing import Rerank
from serve.retriever import Query, RemoteRetrieval, answer_batch


def query(
    text: str,
    *,
    collection: str = "handbook",
    k: int = 2,
    section_weight: float = 0.0,
    rerank: Rerank | None = None,
) -> Query:
    return Query(
        text=text,
        collection=collection,
        tenant="default",
        k=k,
        dense_weight=1.0,
        section_weight=section_weight,
        rerank=rerank,
    )


def found(collection: str) -> SearchResult:
    return SearchResult(passages=(), collection=collection, generation=1, embed_ms=0.0, search_ms=0.0)


@dataclass
class Searcher:
    """Finds nothing, and fails where a store or a tokenizer would."""

    failing: dict[str, Exception] = field(default_factory=dict)
    calls: list[list[str]] = field(default_factory=list)
    reranked: list[str] = field(default_factory=list)

    def search(
        self,
        queries: Sequence[str],
        *,
        collection: str,
        tenant: str,
        k: int,
        dense_weight: float,
        section_weight: float,
        rerank: Rerank | None,
    ) -> list[SearchResult]:
        self.calls.append([*queries])
        self.reranked += [*queries] if rerank else []
        for cause in (collection, *queries):
            if cause in self.failing:
                raise self.failing[cause]
        return [found(collection)] * len(queries)


def kinds(answers: Sequence[SearchResult | GraftworkError]) -> list[type]:
    return [type(answer) for answer in answers]


def test_queries_that_ask_alike_are_searched_in_one_call_and_answered_in_their_order() -> None:
    searcher = Searcher()
    shallow, deep = Rerank(by="model", depth=10), Rerank(by="model", depth=20)
    queries = [query("a"), query("b", collection="other"), query("c"), query("d", k=3), query("e", section_weight=0.5)]
    queries += [query("f", rerank=deep), query("g", rerank=shallow), query("h", rerank=deep)]
    answers = answer_batch(searcher, queries)
    assert searcher.calls == [["a", "c"], ["b"], ["d"], ["e"], ["f", "h"], ["g"]]
    assert searcher.reranked == ["f", "h", "g"]
    assert [answer.collection for answer in answers] == ["handbook", "other", *["handbook"] * 6]


def test_an_unknown_collection_is_the_answer_of_those_who_asked_it() -> None:
    searcher = Searcher(failing={"gone": NotFoundError("no collection 'gone'")})
    answers = answer_batch(searcher, [query("a", collection="gone"), query("b"), query("c", collection="gone")])
    assert kinds(answers) == [NotFoundError, SearchResult, NotFoundError]
    assert len(searcher.calls) == 2


@pytest.mark.parametrize("error", [TypeError("TextInputSequence must be str"), MilvusException(2000, "bad query")])
def test_a_query_that_breaks_the_call_fails_alone(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    searcher = Searcher(failing={"bad": error})
    answers = answer_batch(searcher, [query("a"), query("bad"), query("c"), query("d", collection="other")])
    assert kinds(answers) == [SearchResult, UnavailableError, SearchResult, SearchResult]
    assert type(error).__name__ in str(answers[1])
    assert [record.exc_info is not None for record in caplog.records] == [True]


class Response:
    """Stands where Serve's DeploymentResponse stands; a real one needs a cluster."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.cancelled = False

    def __await__(self) -> Generator[object, None, object]:
        if self.answer is None:
            yield from asyncio.sleep(60).__await__()
        if isinstance(self.answer, Exception) and not isinstance(self.answer, GraftworkError):
            raise self.answer
        return self.answer

    def cancel(self) -> None:
        self.cancelled = True


def remote(response: Response) -> RemoteRetrieval:
    return RemoteRetrieval(SimpleNamespace(retrieve=SimpleNamespace(remote=lambda _: response)))


async def test_what_the_retriever_reports_is_raised() -> None:
    assert await remote(Response(found("handbook"))).retrieve(query("a")) == found("handbook")
    with pytest.raises(NotFoundError, match="no such"):
        await remote(Response(NotFoundError("no such"))).retrieve(query("a"))


@pytest.mark.parametrize(
    "error", [ActorDiedError(), RayError("lost"), RayServeException("refused"), DeploymentUnavailableError(None)]
)
async def test_a_retriever_that_is_gone_is_unavailable(error: Exception) -> None:
    with pytest.raises(UnavailableError, match=f"did not answer for 'handbook': {type(error).__name__}"):
        await remote(Response(error)).retrieve(query("a"))


async def test_a_retriever_that_cannot_be_asked_is_unavailable() -> None:
    def refuse(_: Query) -> Response:
        raise RayServeException("the deployment is gone")

    retrieval = RemoteRetrieval(SimpleNamespace(retrieve=SimpleNamespace(remote=refuse)))
    with pytest.raises(UnavailableError, match="the deployment is gone"):
        await retrieval.retrieve(query("a"))


async def test_a_call_that_is_given_up_is_cancelled_at_the_retriever() -> None:
    response = Response(None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(remote(response).retrieve(query("a")), timeout=0.01)
    assert response.cancelled
