from __future__ import annotations

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.layers.telemetry import TelemetryLayer
from serve.telemetry.record import RequestRecord
from tests.serve.layers.conftest import Graph

QUESTION = [{"role": "user", "content": "canary-prompt"}]


async def seen(graph: Graph, body: object, path: str = "/v1/chat/completions") -> tuple[int, RequestRecord]:
    records: list[RequestRecord] = []
    layer = TelemetryLayer(graph.app, sink=records.append)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(layer), base_url="http://g") as client:
        answer = await client.post(path, json=body, headers={"x-request-id": "r-1"})
    assert layer.running == 0
    (record,) = records
    assert "canary-prompt" not in repr(record)
    return answer.status_code, record


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_recorded_with_its_model_and_stages(graph: Graph, stream: bool) -> None:
    status, record = await seen(graph, {"model": "both", "messages": QUESTION, "stream": stream})
    assert (status, record.status, record.code, record.cancelled) == (200, 200, "", False)
    assert (record.request_id, record.route, record.model, record.adapter) == ("r-1", "chat", "both", "ropes@1")
    assert {"resolve", "adapter", "embed", "search", "assembly"} <= {stage.name for stage in record.stages}


async def test_an_unknown_model_is_no_label(graph: Graph) -> None:
    status, record = await seen(graph, {"model": "canary-prompt", "messages": QUESTION})
    assert (status, record.status, record.code, record.model) == (404, 404, "model_not_found", None)


async def test_an_unknown_path_is_no_label(graph: Graph) -> None:
    status, record = await seen(graph, {}, path="/canary-prompt")
    assert (status, record.route) == (404, "other")


async def test_a_client_that_leaves_and_an_app_that_breaks_are_told_apart() -> None:
    records: list[RequestRecord] = []

    async def left(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await TelemetryLayer(left, sink=records.append)(scope, receive, send)
    with pytest.raises(RuntimeError):
        await TelemetryLayer(broken, sink=records.append)(scope, receive, send)
    assert [(record.status, record.cancelled) for record in records] == [(499, True), (500, False)]
