"""What a request changes of a specialist's retrieval."""

from __future__ import annotations

import time

import pytest

from indexer.errors import UnavailableError
from indexer.filters import joined, parse_filter
from indexer.rerank.mixing import Rerank
from serve.principal import Principal
from serve.routes import CHAT, COMPLETIONS
from tests.serve.layers.conftest import Graph
from tests.serve.layers.test_layers import ask

OPEN = {"field": "metadata.kind", "op": "==", "value": "open"}
PAGE = {"field": "page", "op": ">=", "value": 2}


async def test_what_it_has_counts_and_the_rest_is_the_specialists(graph: Graph) -> None:
    changes = {"k": 7, "dense_weight": 0, "query": "knots", "max_context_tokens": 64}
    assert (await graph.client.post(CHAT.path, json=ask("again", graftwork=changes))).status_code == 200
    query = graph.passages.queries[0]
    assert (query.text, query.k, query.dense_weight, query.section_weight) == ("knots", 7, 0, None)
    assert query.rerank == Rerank(by="model", depth=9, weight=0.5)
    assert "graftwork" not in graph.engine.requests[0]
    await graph.client.post(CHAT.path, json=ask("again", graftwork={"rerank": None}))
    assert graph.passages.queries[1].rerank is None


async def test_a_filter_only_narrows_what_the_specialist_allows(graph: Graph) -> None:
    for given in ({}, {"filter": PAGE}, {"filter": None}, None):
        await graph.client.post(CHAT.path, json=ask("narrow", graftwork=given))
    own, asked = parse_filter(OPEN), parse_filter(PAGE)
    assert [query.only for query in graph.passages.queries] == [own, joined(own, asked), own, own]
    await graph.client.post(CHAT.path, json=ask("rag", graftwork={"filter": PAGE}))
    assert graph.passages.queries[-1].only == asked


async def test_passages_below_the_score_asked_for_are_dropped(graph: Graph) -> None:
    answer = (await graph.client.post(CHAT.path, json=ask("rag", graftwork={"min_score": 0.6}))).json()["graftwork"]
    assert [citation["chunk_id"] for citation in answer["citations"]] == ["c1"]
    answer = (await graph.client.post(CHAT.path, json=ask("rag", graftwork={"min_score": 2}))).json()["graftwork"]
    assert (answer["retrieval"], answer["citations"]) == ("none found", [])


async def test_a_request_may_leave_the_collection_alone(graph: Graph) -> None:
    answer = (await graph.client.post(CHAT.path, json=ask("rag", graftwork={"retrieve": False}))).json()["graftwork"]
    assert (answer["retrieval"], answer["citations"], graph.passages.queries) == ("off", [], [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k": 0}, "'graftwork.k' does not fit: Input should be greater than or equal to 1"),
        ({"k": "3"}, "'graftwork.k' does not fit: Input should be a valid integer"),
        ({"k": True}, "'graftwork.k' does not fit"),
        ({"depth": 3}, "'graftwork.depth' does not fit: Extra inputs"),
        ({"tenant": "b"}, "'graftwork.tenant' does not fit: Extra inputs"),
        ({"on_failure": "answer"}, "'graftwork.on_failure' does not fit: Extra inputs"),
        ({"filter": "tenant == 'b'"}, "'graftwork.filter"),
        ({"filter": {**PAGE, "field": "tenant"}}, "'graftwork.filter.condition.field' does not fit"),
        ({"query": ""}, "'graftwork.query' does not fit"),
        ({"query": " \n"}, "'graftwork.query' does not fit: String should have at least 1 character"),
        ({"dense_weight": 1.5}, "'graftwork.dense_weight' does not fit"),
        ([], "'graftwork' does not fit"),
        ("rag", "'graftwork' does not fit"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_is_searched(
    graph: Graph, changes: object, said: str
) -> None:
    response = await graph.client.post(CHAT.path, json=ask("rag", graftwork=changes))
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]
    assert graph.passages.queries == []
    assert graph.engine.requests == []


@pytest.mark.parametrize(("path", "model"), [(CHAT.path, "plain"), (CHAT.path, "base"), (COMPLETIONS.path, "base")])
async def test_it_is_refused_where_there_is_nothing_to_change(graph: Graph, path: str, model: str) -> None:
    response = await graph.client.post(path, json={**ask(model, graftwork={"k": 2}), "prompt": "Hi"})
    assert response.status_code == 400
    assert "leave it out" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("most", "changes", "status"),
    [(None, {"k": 100}, 200), (5, {"k": 5}, 200), (5, {"k": 6}, 400), (5, {"min_score": 0.1}, 200), (0, {}, 400)],
)
async def test_a_key_limits_what_may_be_asked_for(
    keyed: Graph, most: int | None, changes: dict[str, object], status: int
) -> None:
    keyed.principals["k"] = Principal(tenant="a", key_id="k", max_passages=most)
    headers = {"authorization": "Bearer k"}
    response = await keyed.client.post(CHAT.path, json=ask("rag", graftwork=changes), headers=headers)
    assert response.status_code == status
    assert (await keyed.client.post(CHAT.path, json=ask("rag"), headers=headers)).status_code == 200


async def test_the_search_is_under_way_while_the_adapter_is_waited_for(graph: Graph) -> None:
    graph.files.check_s = graph.passages.lasts_s = 0.5
    since = time.perf_counter()
    answer = (await graph.client.post(CHAT.path, json=ask("both"))).json()["graftwork"]
    assert time.perf_counter() - since < 0.95
    assert answer["timings"]["adapter_ms"] >= 490
    assert answer["timings"]["retrieval_ms"] >= 490
    assert answer["retrieval"] == "found"


async def test_a_search_that_nobody_waits_for_any_more_ends_with_its_request(graph: Graph) -> None:
    graph.passages.lasts_s = 5.0
    graph.files.error = UnavailableError("The registry is away.")
    since = time.perf_counter()
    assert (await graph.client.post(CHAT.path, json=ask("both"))).status_code == 503
    assert time.perf_counter() - since < 1
    assert len(graph.passages.queries) == 1


async def test_a_question_is_searched_for_with_those_it_leans_on_and_small_talk_is_not(graph: Graph) -> None:
    said = ["How long is the hawser of the north berth?", "And who tars it?", "Thanks a lot!"]
    messages = [{"role": "user", "content": text} for text in said]
    answers = []
    for number in range(1, 4):
        body = {"model": "talker", "messages": messages[:number]}
        answers.append((await graph.client.post(CHAT.path, json=body)).json()["graftwork"]["retrieval"])
    assert [query.text for query in graph.passages.queries] == [said[0], "\n".join(said[:2])]
    assert answers == ["found", "found", "off"]
