"""POST /v1/retrieve."""

from __future__ import annotations

import pytest

from indexer.errors import NotFoundError, UnavailableError
from serve.principal import Principal
from tests.serve.layers.conftest import Graph

PATH = "/v1/retrieve"


async def test_passages_come_best_first_with_where_they_are_from(graph: Graph) -> None:
    response = await graph.client.post(PATH, json={"model": "rag", "query": " How long? ", "graftwork": {"k": 9}})
    body = response.json()
    assert (body["object"], body["model"], body["collection"], body["generation"]) == ("list", "rag", "handbook", 3)
    assert [entry["chunk_id"] for entry in body["data"]] == ["c1", "c2"]
    first = body["data"][0]
    assert (first["object"], first["index"], first["score"]) == ("passage", 0, 1.0)
    assert (first["title"], first["heading_path"], first["uri"]) == ("Title 1", ["Ropes"], "file:///d1.md")
    assert (first["text"], first["page"], first["start"], first["end"]) == ("Text 1.", None, 0, 7)
    assert {"embed_ms", "search_ms", "retrieval_ms", "total_ms"} <= body["timings"].keys()
    query = graph.passages.queries[0]
    assert (query.text, query.k, query.collection) == ("How long?", 9, "handbook")
    assert graph.engine.requests == []
    assert graph.adapters.loaded == []


async def test_it_needs_no_adapter(graph: Graph) -> None:
    response = await graph.client.post(PATH, json={"model": "both", "query": "How long?"})
    assert (response.status_code, graph.adapters.loaded) == (200, [])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "rag"}, "'query' is null; ask something"),
        ({"model": "rag", "query": ""}, "'query' is \"\"; ask something"),
        ({"model": "rag", "query": ["a"]}, "'query' is [\"a\"]; ask something"),
        (
            {"model": "rag", "query": "a", "graftwork": {"retrieve": False}},
            "'graftwork.retrieve' is false; leave it out",
        ),
        ({"model": "rag", "query": "a", "graftwork": {"query": " "}}, "'graftwork.query' does not fit"),
        ({"model": "plain", "query": "a"}, "'plain' has no collection"),
        ({"model": "ropes@1", "query": "a"}, "'ropes@1' has no collection"),
    ],
)
async def test_what_leads_to_no_search_is_refused(graph: Graph, body: dict[str, object], said: str) -> None:
    response = await graph.client.post(PATH, json=body)
    assert (response.status_code, graph.passages.queries) == (400, [])
    assert said in response.json()["error"]["message"]


async def test_no_passage_is_an_empty_list(graph: Graph) -> None:
    graph.passages.empty = True
    assert (await graph.client.post(PATH, json={"model": "rag", "query": "a"})).json()["data"] == []


@pytest.mark.parametrize("error", [UnavailableError("Milvus at http://h:1 is away."), NotFoundError("No /path.")])
async def test_a_search_that_fails_is_a_503_that_tells_no_address(graph: Graph, error: Exception) -> None:
    graph.passages.error = error  # type: ignore[assignment]
    response = await graph.client.post(PATH, json={"model": "lenient", "query": "a"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert response.headers["retry-after"] == "1"
    assert "http://" not in response.text
    assert "/path" not in response.text


async def test_it_asks_for_the_keys_tenant(keyed: Graph) -> None:
    keyed.principals["k"] = Principal(tenant="b", key_id="k", collections=frozenset({"handbook"}))
    body = {"model": "rag", "query": "a"}
    assert (await keyed.client.post(PATH, json=body, headers={"authorization": "Bearer k"})).status_code == 200
    assert (await keyed.client.post(PATH, json=body)).status_code == 401
    assert [query.tenant for query in keyed.passages.queries] == ["b"]
