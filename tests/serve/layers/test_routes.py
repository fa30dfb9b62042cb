from __future__ import annotations

import pytest
from starlette.types import Message, Scope

from tests.serve.layers.conftest import Graph


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/chat/completions/batch"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/completions/render"),
        ("POST", "/invocations"),
        ("POST", "/inference/v1/generate"),
        ("POST", "/scale_elastic_ep"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/start_profile"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/metrics/"),
        ("GET", "/health"),
        ("GET", "/version"),
        ("POST", "/sleep"),
        ("POST", "/collective_rpc"),
        ("GET", "/v1/models/"),
        ("GET", "/"),
    ],
)
async def test_what_no_layer_answers_for_is_404_in_openais_shape(graph: Graph, method: str, path: str) -> None:
    response = await graph.client.request(method, path, json={"model": "base", "input": "Hello"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert (error["type"], error["code"]) == ("invalid_request_error", "unknown_url")
    assert f"There is no {method} {path} here" in error["message"]
    assert graph.engine.requests == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/base", "GET"),
        ("POST", "/healthz", "GET"),
        ("PATCH", "/v1/models", "GET"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_405_and_names_those_it_has(
    graph: Graph, method: str, path: str, allowed: str
) -> None:
    response = await graph.client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
async def test_tokens_are_those_of_the_base_whatever_the_model(graph: Graph, path: str) -> None:
    for model in ("base", "both", "ropes@2"):
        assert (await graph.client.post(path, json={"model": model, "prompt": "rope"})).json()["route"] == path
    assert {request["model"] for request in graph.engine.requests} == {"base"}
    assert graph.adapters.loaded == []


async def test_what_the_layers_answer_is_answered(graph: Graph) -> None:
    assert (await graph.client.get("/healthz")).json() == {"status": "ok"}
    assert (await graph.client.get("/readyz")).json() == {"status": "ready", "revision": 1}
    assert (await graph.client.get("/v1/models")).status_code == 200
    assert (await graph.client.get("/v1/models/a/b")).json()["error"]["code"] == "model_not_found"


async def test_a_websocket_is_closed(graph: Graph) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope: Scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
    await graph.app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
