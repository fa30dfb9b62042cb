from __future__ import annotations

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.layers.telemetry import TelemetryLayer
from serve.principal import Principal
from serve.telemetry.record import RequestRecord
from tests.serve.layers.conftest import EngineApp, Graph, event_of

QUESTION = [{"role": "user", "content": "canary-prompt"}]


async def seen(
    graph: Graph, body: object, path: str = "/v1/chat/completions", key: str | None = None
) -> tuple[int, RequestRecord]:
    records: list[RequestRecord] = []
    layer = TelemetryLayer(graph.app, sink=records.append)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(layer), base_url="http://g") as client:
        sent = {} if key is None else {"authorization": f"Bearer {key}"}
        answer = await client.post(path, json=body, headers={"x-request-id": "r-1", **sent})
    assert layer.running == 0
    (record,) = records
    assert "canary-prompt" not in repr(record)
    return answer.status_code, record


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_recorded_with_its_model_and_stages(graph: Graph, stream: bool) -> None:
    status, record = await seen(graph, {"model": "both", "messages": QUESTION, "stream": stream})
    assert (status, record.status, record.code, record.cancelled) == (200, 200, "", False)
    assert (record.request_id, record.route, record.model, record.adapter) == ("r-1", "chat", "both", "ropes@1")
    names = {stage.name for stage in record.stages}
    assert {"resolve", "admission", "adapter", "embed", "search", "assembly"} <= names
    assert names & {"prefill", "decode", "generate"} == ({"prefill", "decode"} if stream else {"generate"})


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


async def test_the_engines_stages_begin_behind_all_others(graph: Graph) -> None:
    graph.engine.lasts_s, graph.files.check_s = 0.05, 0.1
    _, record = await seen(graph, {"model": "both", "messages": QUESTION, "stream": True})
    stages = {stage.name: stage for stage in record.stages}
    adapter, prefill, decode = stages["adapter"], stages["prefill"], stages["decode"]
    assert adapter.seconds >= 0.09
    assert prefill.start_s >= adapter.start_s + adapter.seconds - 0.01
    assert prefill.start_s + prefill.seconds == pytest.approx(decode.start_s, abs=0.01)
    assert decode.seconds >= sum(record.gaps_s) - 0.01 > 0.1
    assert decode.start_s + decode.seconds <= record.seconds + 0.01


async def test_the_look_at_a_key_is_a_stage_also_where_it_is_refused(keyed: Graph) -> None:
    keyed.principals["secret"] = Principal(tenant="a", key_id="k1")
    _, record = await seen(keyed, {"model": "base", "messages": QUESTION}, key="secret")
    assert {"auth", "resolve", "generate"} <= {stage.name for stage in record.stages}
    status, record = await seen(keyed, {"model": "base", "messages": QUESTION})
    assert (status, record.code, record.model) == (401, "missing_api_key", None)
    assert [stage.name for stage in record.stages] == ["auth"]


async def test_a_deadline_within_a_stream_is_an_error_with_the_status_that_was_sent(graph: Graph) -> None:
    graph.engine.lasts_s = 0.7
    status, record = await seen(graph, {"model": "base", "messages": QUESTION, "stream": True})
    assert (status, record.status, record.code, record.cancelled) == (200, 200, "deadline_exceeded", False)
    assert record.failed
    assert {"prefill", "decode"} <= {stage.name for stage in record.stages}


async def test_a_deadline_before_the_answer_shows_the_engines_time(graph: Graph) -> None:
    graph.engine.lasts_s = 30
    status, record = await seen(graph, {"model": "base", "messages": QUESTION})
    assert (status, record.code) == (503, "deadline_exceeded")
    assert next(stage.seconds for stage in record.stages if stage.name == "generate") > 1


async def test_an_error_of_the_engine_within_a_stream_is_recorded(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(self: EngineApp, body: dict[str, object], send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        error = {"message": "EngineCore died at /usr/lib", "type": "InternalServerError", "param": None, "code": 500}
        data = event_of({"error": error}) + b"data: [DONE]\n\n"
        await send({"type": "http.response.body", "body": data})

    monkeypatch.setattr(EngineApp, "_generate", breaks)
    status, record = await seen(graph, {"model": "base", "messages": QUESTION, "stream": True})
    assert (status, record.status, record.code) == (200, 200, "internal_error")


async def test_an_app_that_breaks_within_its_stream_is_recorded(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[RequestRecord] = []

    async def breaks(self: EngineApp, body: dict[str, object], send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise RuntimeError("the engine is gone")

    monkeypatch.setattr(EngineApp, "_generate", breaks)
    layer = TelemetryLayer(graph.app, sink=records.append)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(layer), base_url="http://g") as client:
        with pytest.raises(RuntimeError):
            await client.post("/v1/chat/completions", json={"model": "base", "messages": QUESTION, "stream": True})
    assert [(record.status, record.code, record.cancelled) for record in records] == [(200, "internal_error", False)]
    assert "generate" in {stage.name for stage in records[0].stages}
