"""What one key reaches and another does not."""

from __future__ import annotations

import pytest

from serve.principal import Principal
from serve.routes import CHAT, MESSAGES, ROUTES
from tests.serve.layers.conftest import Graph
from tests.serve.layers.test_layers import ask

ADA = {"authorization": "Bearer ada"}
BOB = {"authorization": "Bearer bob"}
MESSAGE = {"role": "user", "content": "Hi"}
BODIES = {"messages": [MESSAGE], "prompt": "Hi", "input": "Hi", "max_tokens": 4, "tokens": [1], "query": "Hi"}


@pytest.fixture
def tenants(keyed: Graph) -> Graph:
    keyed.principals["ada"] = Principal(tenant="a", key_id="ada", models=frozenset({"base", "rag", "ropes@1"}))
    keyed.principals["bob"] = Principal(tenant="b", key_id="bob", collections=frozenset({"other"}))
    return keyed


async def test_documents_are_searched_for_the_keys_tenant_whatever_the_body_says(tenants: Graph) -> None:
    mine = {"field": "title", "op": "==", "value": 'x" or tenant == "b'}
    body = ask("rag", tenant="b", user="b", graftwork={"filter": mine})
    assert (await tenants.client.post(CHAT.path, json=body, headers=ADA)).status_code == 200
    assert (await tenants.client.post(CHAT.path, json=ask("rag", graftwork={"tenant": "b"}), headers=ADA)).is_error
    assert [query.tenant for query in tenants.passages.queries] == ["a"]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.takes_model], ids=lambda route: route.name)
async def test_a_model_that_the_key_does_not_name_does_not_exist(tenants: Graph, route: object) -> None:
    path = route.path  # type: ignore[attr-defined]
    for model in ("plain", "ropes@2", "ropes", "embedder"):
        response = await tenants.client.post(path, json={"model": model, **BODIES}, headers=ADA)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found"), model
    assert tenants.engine.requests == []
    assert tenants.passages.asked == []


async def test_a_specialist_of_a_collection_that_the_key_does_not_name_does_not_exist(tenants: Graph) -> None:
    response = await tenants.client.post(CHAT.path, json=ask("rag"), headers=BOB)
    unknown = await tenants.client.post(CHAT.path, json=ask("gar"), headers=BOB)
    assert response.status_code == unknown.status_code == 404
    assert response.json()["error"]["message"] == unknown.json()["error"]["message"].replace("gar", "rag")
    assert (await tenants.client.post(CHAT.path, json=ask("plain"), headers=BOB)).status_code == 200


async def test_models_are_those_that_the_key_may_call(tenants: Graph) -> None:
    ids = [card["id"] for card in (await tenants.client.get("/v1/models", headers=ADA)).json()["data"]]
    assert ids == ["base", "rag", "ropes@1"]
    assert (await tenants.client.get("/v1/models/plain", headers=ADA)).status_code == 404
    ids = [card["id"] for card in (await tenants.client.get("/v1/models", headers=BOB)).json()["data"]]
    assert "plain" in ids
    assert "rag" not in ids


@pytest.mark.parametrize("route", [route for route in ROUTES if route.salted], ids=lambda route: route.name)
async def test_cached_blocks_are_the_tenants_own_whatever_salt_the_body_has(tenants: Graph, route: object) -> None:
    for headers in (ADA, BOB):
        for more in ({}, {"cache_salt": None}, {"cache_salt": "mine"}):
            body = {"model": "base", **BODIES, **more}
            assert (await tenants.client.post(route.path, json=body, headers=headers)).status_code == 200  # type: ignore[attr-defined]
    salts = [request["cache_salt"] for request in tenants.engine.requests]
    assert len({*salts[:3], *salts[3:]}) == 4
    assert set(salts[:3]).isdisjoint(salts[3:])
    assert salts[0] == salts[1] != salts[2]


async def test_without_keys_the_clients_salt_stays(graph: Graph) -> None:
    await graph.client.post(CHAT.path, json=ask("base", cache_salt="mine"))
    await graph.client.post(CHAT.path, json=ask("base", cache_salt=None))
    first, second = graph.engine.requests
    assert first["cache_salt"] == "mine"
    assert "cache_salt" not in second


async def test_a_specialist_with_a_collection_is_not_answered_where_nothing_is_retrieved(graph: Graph) -> None:
    response = await graph.client.post(MESSAGES.path, json={"model": "rag", **BODIES})
    assert response.status_code == 400
    assert "answers from collection 'handbook'" in response.json()["error"]["message"]


async def test_generation_defaults_have_the_names_of_the_route(graph: Graph) -> None:
    await graph.client.post("/v1/responses", json={"model": "plain", "input": "Hi"})
    await graph.client.post(CHAT.path, json=ask("plain", max_completion_tokens=3))
    responses, chat = graph.engine.requests
    assert (responses["max_output_tokens"], responses["temperature"]) == (5, 0)
    assert "max_tokens" not in responses
    assert "max_tokens" not in chat


async def test_a_specialists_prompt_stands_before_the_clients_instructions(graph: Graph) -> None:
    await graph.client.post("/v1/responses", json={"model": "plain", "input": "Hi", "instructions": "Be brief."})
    await graph.client.post("/v1/messages", json={"model": "plain", **BODIES})
    blocks = [{"type": "text", "text": "Be brief."}]
    await graph.client.post("/v1/messages", json={"model": "plain", **BODIES, "system": blocks})
    await graph.client.post("/v1/completions", json={"model": "plain", "prompt": "Hi"})
    responses, messages, listed, completions = graph.engine.requests
    assert responses["instructions"] == "You keep ropes.\n\nBe brief."
    assert messages["system"] == "You keep ropes."
    assert listed["system"] == [{"type": "text", "text": "You keep ropes."}, *blocks]
    assert "system" not in completions
    assert "instructions" not in completions
