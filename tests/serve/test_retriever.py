from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import pytest
from pymilvus.exceptions import MilvusException
from ray.exceptions import ActorDiedError, RayError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from indexer.errors import GraftworkError, NotFoundError, UnavailableError
from indexer.filters import Filter, parse_filter
from indexer.passages import SearchResult
from indexer.rerank.mixing import Rerank
from serve.breaker import Breaker
from serve.remembered_results import RememberedResults
from serve.retriever import FAILURES, FailedQueryError, Query, RemoteRetrieval, answer_batch

NONE_KEPT = RememberedResults[SearchResult](size=0, seconds=0.0)


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
    number: int = 1

    def generation(self, collection: str) -> int:
        if collection in self.failing:
            raise self.failing[collection]
        return self.number

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
        only: Filter | None,
        neighbours: int,
    ) -> list[SearchResult]:
        self.calls.append([*queries])
        self.reranked += [*queries] if rerank else []
        for cause in (collection, *queries):
            if cause in self.failing:
                raise self.failing[cause]
        return [replace(found(collection), generation=self.number)] * len(queries)


def kinds(answers: Sequence[SearchResult | GraftworkError]) -> list[type]:
    return [type(answer) for answer in answers]


def test_queries_that_ask_alike_are_searched_in_one_call_and_answered_in_their_order() -> None:
    searcher = Searcher()
    shallow, deep = Rerank(by="model", depth=10), Rerank(by="model", depth=20)
    queries = [query("a"), query("b", collection="other"), query("c"), query("d", k=3), query("e", section_weight=0.5)]
    queries += [query("f", rerank=deep), query("g", rerank=shallow), query("h", rerank=deep)]
    answers = answer_batch(searcher, queries, breakers={}, kept=NONE_KEPT)
    assert searcher.calls == [["a", "c"], ["b"], ["d"], ["e"], ["f", "h"], ["g"]]
    assert searcher.reranked == ["f", "h", "g"]
    assert [answer.collection for answer in answers] == ["handbook", "other", *["handbook"] * 6]


def test_an_unknown_collection_is_the_answer_of_those_who_asked_it() -> None:
    searcher = Searcher(failing={"gone": NotFoundError("no collection 'gone'")})
    answers = answer_batch(
        searcher,
        [query("a", collection="gone"), query("b"), query("c", collection="gone")],
        breakers={},
        kept=NONE_KEPT,
    )
    assert kinds(answers) == [NotFoundError, SearchResult, NotFoundError]
    assert len(searcher.calls) == 2


@pytest.mark.parametrize("error", [TypeError("TextInputSequence must be str"), MilvusException(2000, "bad query")])
def test_a_query_that_breaks_the_call_fails_alone(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    searcher = Searcher(failing={"bad": error})
    answers = answer_batch(
        searcher, [query("a"), query("bad"), query("c"), query("d", collection="other")], breakers={}, kept=NONE_KEPT
    )
    assert kinds(answers) == [SearchResult, FailedQueryError, SearchResult, SearchResult]
    assert type(error).__name__ in str(answers[1])
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_a_question_asked_again_is_not_searched_again_while_its_result_is_kept() -> None:
    searcher, now = Searcher(), [0.0]
    kept = RememberedResults[SearchResult](size=9, seconds=5.0, clock=lambda: now[0])
    ask = partial(answer_batch, searcher, breakers={}, kept=kept)
    first = ask([query("a"), query("a"), query("b")])
    assert searcher.calls == [["a", "b"]]
    assert ask([query("a"), query("c")])[0] == replace(first[0], search_ms=pytest.approx(0.0, abs=50))
    assert searcher.calls[1:] == [["c"]]
    now[0] = 5.0
    ask([query("a")])
    assert searcher.calls[2:] == [["a"]]


@pytest.mark.parametrize(
    "other",
    [
        replace(query("a"), tenant="another"),
        replace(query("a"), k=3),
        replace(query("a"), collection="other"),
        replace(query("a"), only=parse_filter({"field": "title", "op": "==", "value": "x"})),
        replace(query("a"), neighbours=1),
    ],
)
def test_a_result_is_for_those_who_ask_the_same_way_alone(other: Query) -> None:
    searcher = Searcher()
    kept = RememberedResults[SearchResult](size=9, seconds=60.0)
    for each in (query("a"), other, query("a"), other):
        answer_batch(searcher, [each], breakers={}, kept=kept)
    assert len(searcher.calls) == 2


def test_a_new_generation_is_searched_and_an_error_is_not_kept() -> None:
    searcher = Searcher(failing={"bad": TypeError("no text")})
    kept = RememberedResults[SearchResult](size=9, seconds=60.0)
    ask = partial(answer_batch, searcher, breakers={}, kept=kept)
    ask([query("a")])
    searcher.number = 2
    [answer] = ask([query("a")])
    assert isinstance(answer, SearchResult)
    assert (answer.generation, len(searcher.calls)) == (2, 2)
    for _ in range(2):
        assert kinds(ask([query("bad")])) == [FailedQueryError]
    searcher.failing["handbook"] = NotFoundError("no collection 'handbook'")
    assert kinds(ask([query("a")])) == [NotFoundError]


def test_a_collection_whose_generation_cannot_be_told_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    searcher = Searcher(failing={"other": MilvusException(2000, "bad alias")})
    kept = RememberedResults[SearchResult](size=9, seconds=60.0)
    answers = answer_batch(searcher, [query("a", collection="other"), query("a")], breakers={}, kept=kept)
    assert kinds(answers) == [FailedQueryError, SearchResult]
    assert any("other" in record.message for record in caplog.records)


def test_no_more_results_are_kept_than_there_are_places() -> None:
    kept = RememberedResults[str](size=2, seconds=60.0)
    for key in ("a", "b"):
        kept.put(key, key)
    assert kept.get("a") == "a"
    kept.put("c", "c")
    assert [kept.get(key) for key in ("a", "b", "c")] == ["a", None, "c"]
    assert not RememberedResults[str](size=2, seconds=0.0).on


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


def test_a_collection_that_does_not_answer_is_left_alone_for_a_while_and_no_other() -> None:
    searcher = Searcher(failing={"a": UnavailableError("Milvus is away.")})
    breakers: dict[str, Breaker] = {}
    for _ in range(FAILURES + 2):
        answers = answer_batch(
            searcher, [query("a"), query("b", collection="other")], breakers=breakers, kept=NONE_KEPT
        )
        assert isinstance(answers[0], UnavailableError)
        assert isinstance(answers[1], SearchResult)
    assert searcher.calls.count(["a"]) == FAILURES
    assert searcher.calls.count(["b"]) == FAILURES + 2
    assert "times in a row" in str(answers[0])


def test_queries_that_fail_for_what_is_in_them_keep_no_collection_from_others() -> None:
    searcher = Searcher(failing={"bad": MilvusException(1, "no such comparison")})
    breakers: dict[str, Breaker] = {}
    for _ in range(FAILURES + 1):
        assert kinds(answer_batch(searcher, [query("bad")], breakers=breakers, kept=NONE_KEPT)) == [FailedQueryError]
    assert kinds(answer_batch(searcher, [query("good")], breakers=breakers, kept=NONE_KEPT)) == [SearchResult]
