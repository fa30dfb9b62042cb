"""What ends a request early, at the layers' outside: the client's leaving, the deadline, too many others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.catalog import Target
from serve.draining import Draining
from serve.layers import lifetime
from serve.layers.call import Call, Usage, put_call
from serve.layers.lifetime import LifetimeLayer
from serve.principal import Principal
from serve.routes import CHAT as CHAT_ROUTE
from serve.routes import COMPLETIONS, MESSAGES, RESPONSES, Route
from tests.serve.layers.conftest import Graph, make_graph
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


async def test_what_runs_when_the_replica_is_about_to_be_killed_is_told() -> None:
    draining = Draining(stopping=lambda: True, grace_s=1.0)
    graph = make_graph(keys=False, draining=draining)
    graph.engine.lasts_s = 1.5
    running = [
        asyncio.create_task(graph.client.post(CHAT, json=ask("base", stream=stream))) for stream in (True, False)
    ]
    await asyncio.sleep(0.1)
    draining.over.set_result(None)
    streamed, whole = await asyncio.gather(*running)
    got = events(streamed.text)
    assert got[-1] == "[DONE]"
    assert json.loads(got[-2])["error"]["code"] == "shutting_down"
    late = await graph.client.post(CHAT, json=ask("base"))
    for refused in (whole, late):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "shutting_down"
    assert graph.engine.cancelled >= 2


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


class Request:
    """One request of the layer alone, around work of a test's own."""

    def __init__(
        self, work: ASGIApp, *, deadline_s: float, route: Route = CHAT_ROUTE, spent_fails: bool = False
    ) -> None:
        target = Target(kind="base", name="base", specialist=None, adapter=None)
        self.call = Call(route=route, body={}, target=target, principal=Principal(tenant="t"), engine_id="e")
        self.scope: Scope = {"type": "http", "headers": [(b"x-request-id", b"r1")]}
        put_call(self.scope, self.call)
        self.sent: list[Message] = []
        self.stuck = asyncio.Event()
        self._spent_fails = spent_fails
        self._layer = LifetimeLayer(work, deadline_s=deadline_s, spent=self._spent)

    async def run(self) -> None:
        await self._layer(self.scope, asyncio.Queue[Message]().get, self._send)

    def _spent(self, _: Call) -> Usage:
        if self._spent_fails:
            raise AttributeError("the engine has no such name")
        return Usage(7, 3)

    async def _send(self, message: Message) -> None:
        if self.stuck.is_set():
            await asyncio.sleep(60)
        self.sent.append(message)


class Deaf:
    """Work that begins a stream and hears of no disconnect, so that only a cancellation ends it."""

    cancelled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: {", "more_body": True})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_a_second_cancellation_leaves_nothing_running() -> None:
    work = Deaf()
    task = asyncio.create_task(Request(work, deadline_s=60).run())
    for _ in range(2):
        await asyncio.sleep(0.02)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.3)
    assert work.cancelled == 1


@pytest.mark.parametrize("spent_fails", [False, True])
async def test_a_cost_that_cannot_be_told_keeps_no_request_alive(spent_fails: bool) -> None:
    work, heard = Deaf(), []

    async def hears(scope: Scope, receive: Receive, send: Send) -> None:
        generating = asyncio.create_task(work(scope, receive, send))
        heard.append((await receive())["type"])
        generating.cancel()

    request = Request(hears, deadline_s=0.05, spent_fails=spent_fails)
    async with asyncio.timeout(2):
        await request.run()
    assert heard == ["http.disconnect"]
    assert request.call.usage == (None if spent_fails else Usage(7, 3))
    assert request.sent[-1]["body"].endswith(b"data: [DONE]\n\n")


async def test_a_client_that_does_not_read_holds_nothing_beyond_its_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifetime, "_LAST_WORDS_S", 0.05)
    work = Deaf()
    request = Request(work, deadline_s=0.1)
    task = asyncio.create_task(request.run())
    await asyncio.sleep(0.05)
    request.stuck.set()
    async with asyncio.timeout(2):
        await task
    assert work.cancelled == 1
    assert "did not read the end" in caplog.text


@pytest.mark.parametrize(
    ("route", "event", "place"),
    [
        (CHAT_ROUTE, None, ("error",)),
        (COMPLETIONS, None, ("error",)),
        (RESPONSES, "error", ()),
        (MESSAGES, "error", ("error",)),
    ],
)
async def test_a_stream_whose_time_is_up_ends_as_the_routes_clients_read_it(
    route: Route, event: str | None, place: tuple[str, ...]
) -> None:
    request = Request(Deaf(), deadline_s=0.05, route=route)
    await request.run()
    assert not request.sent[-1]["more_body"]
    text = b"".join(message.get("body", b"") for message in request.sent).decode()
    broken, ours, *marks = text.strip().split("\n\n")
    assert broken == "data: {"
    assert marks == (["data: [DONE]"] if event is None else [])
    *names, data = ours.splitlines()
    assert names == ([] if event is None else [f"event: {event}"])
    found = json.loads(data.removeprefix("data: "))
    assert event is None or found["type"] == event
    for part in place:
        found = found[part]
    assert (found["code"], found["request_id"]) == ("deadline_exceeded", "r1")
    assert "0.05 s" in found["message"]
