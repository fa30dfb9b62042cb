from __future__ import annotations

import pytest
from starlette.types import Message, Scope

from tests.serve.layers.conftest import Graph


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/messages"),
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
        ("GET", "/metrics/"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/base"),
        ("GET", "/"),
    ],
)
async def test_what_no_layer_answers_for_is_404_in_openais_shape(graph: Graph, method: str, path: str) -> None:
    response = await graph.client.request(method, path, json={"model": "base", "input": "Hello"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", "unknown_url")
    assert f"There is no {method} {path} here" in error["message"]
    assert graph.engine.requests == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/version"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
    ],
)
async def test_what_says_how_the_engine_is_goes_to_the_engine(graph: Graph, method: str, path: str) -> None:
    assert (await graph.client.request(method, path)).json() == {"route": path}


async def test_what_the_layers_answer_is_answered(graph: Graph) -> None:
    assert (await graph.client.get("/healthz")).json() == {"status": "ok"}
    assert (await graph.client.get("/v1/models")).status_code == 200
    assert (await graph.client.get("/v1/models/a/b")).json()["error"]["code"] == "model_not_found"


async def test_a_websocket_is_closed(graph: Graph) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope: Scope = {"type": "websocket", "path": "/v1/realtime"}
    await graph.app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
