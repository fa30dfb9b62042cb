"""What ends a request early, at the layers' outside: the client's leaving, the deadline, too many others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from starlette.types import Message, Scope

from tests.serve.layers.conftest import Graph
from tests.serve.layers.test_layers import CHAT, ask, events


async def leave_after(
    graph: Graph, body: dict[str, object], seconds: float, *, headers: Mapping[str, str] | None = None
) -> list[Message]:
    """Send a request and disconnect; what was answered until then."""
    sent: list[Message] = []
    data = json.dumps(body).encode()
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": data, "more_body": False})

    async def send(message: Message) -> None:
        sent.append(message)

    sent_headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope: Scope = {"type": "http", "method": "POST", "path": CHAT, "headers": sent_headers, "query_string": b""}
    task = asyncio.create_task(graph.app(scope, incoming.get, send))
    await asyncio.sleep(seconds)
    incoming.put_nowait({"type": "http.disconnect"})
    async with asyncio.timeout(1):
        await task
    return sent


async def test_a_client_that_leaves_cancels_the_generation(graph: Graph) -> None:
    graph.engine.lasts_s = 30
    assert await leave_after(graph, ask("base"), 0.05) == []
    assert graph.engine.cancelled == 1
    sent = await leave_after(graph, ask("base", stream=True), 0.05)
    assert not any(b"[DONE]" in message.get("body", b"") for message in sent)
    assert graph.engine.cancelled == 2


async def test_a_client_that_leaves_the_queue_never_reaches_the_engine(graph: Graph) -> None:
    graph.engine.lasts_s = 0.3
    busy = [asyncio.create_task(graph.client.post(CHAT, json=ask("base"))) for _ in range(2)]
    await asyncio.sleep(0.05)
    await leave_after(graph, ask("base"), 0.05)
    await asyncio.gather(*busy)
    assert len(graph.engine.requests) == 2
    assert (await graph.client.post(CHAT, json=ask("base"))).status_code == 200


async def test_a_client_that_leaves_while_its_adapter_is_checked_frees_its_place(graph: Graph) -> None:
    graph.files.check_s = 0.9
    await leave_after(graph, ask("both"), 0.05)
    await leave_after(graph, ask("both"), 0.05)
    graph.files.check_s = 0
    assert (await graph.client.post(CHAT, json=ask("both"))).status_code == 200


async def test_an_answer_that_is_late_is_a_503(graph: Graph) -> None:
    graph.engine.lasts_s = 30
    response = await graph.client.post(CHAT, json=ask("base"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"]["code"] == "deadline_exceeded"
    assert graph.engine.cancelled == 1


async def test_a_stream_that_is_late_ends_with_an_error_and_done(graph: Graph) -> None:
    graph.engine.lasts_s = 0.7
    response = await graph.client.post(CHAT, json=ask("base", stream=True))
    got = events(response.text)
    assert got[-1] == "[DONE]"
    assert json.loads(got[-2])["error"]["code"] == "deadline_exceeded"
    assert 2 <= len(got) - 2 <= 4


async def test_too_many_at_once_are_told_when_to_come_back(graph: Graph) -> None:
    graph.engine.lasts_s = 0.2
    responses = await asyncio.gather(*(graph.client.post(CHAT, json=ask("base")) for _ in range(12)))
    refused = [response for response in responses if response.status_code != 200]
    assert len(refused) == 8
    for response in refused:
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert (response.json()["error"]["type"], response.json()["error"]["code"]) == (
            "rate_limit_error",
            "overloaded",
        )


async def test_a_dead_engine_is_a_503_at_once(graph: Graph) -> None:
    graph.engine.lives = False
    response = await graph.client.post(CHAT, json=ask("base"))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert (await graph.client.get("/readyz")).status_code == 503
    assert (await graph.client.get("/healthz")).status_code == 200
    assert graph.engine.requests == []


async def test_a_body_that_is_too_long_is_not_read(graph: Graph) -> None:
    long = "x" * 200_001
    response = await graph.client.post(CHAT, content=json.dumps(ask("base", user=long)))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")

    async def chunks() -> object:
        while True:
            yield b"x" * 50_000

    response = await graph.client.post(CHAT, content=chunks())  # type: ignore[arg-type]
    assert response.status_code == 413
