"""A replica that is stopped, seen from its clients: what runs ends whole or is told, what is new is refused."""

from __future__ import annotations

import asyncio
import json

import pytest

from serve import draining
from serve.draining import Draining
from tests.serve.layers.conftest import make_graph
from tests.serve.layers.test_layers import CHAT, ask, events


async def test_streams_end_whole_or_are_told_and_new_requests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_S", 0.01)
    stopped = asyncio.Event()
    drain = Draining(stopping=stopped.is_set, grace_s=1.6, reachable_s=0.3)
    following = asyncio.create_task(drain.follow())
    graph = make_graph(keys=False, draining=drain)

    async def stream(pause_s: float) -> list[str]:
        graph.engine.lasts_s = pause_s
        answer = await graph.client.post(CHAT, json=ask("base", stream=True))
        return events(answer.text)

    long = asyncio.create_task(stream(30))
    await asyncio.sleep(0.05)
    short = asyncio.create_task(stream(0.1))
    await asyncio.sleep(0.05)
    assert (await graph.client.get("/readyz")).status_code == 200
    stopped.set()
    await asyncio.sleep(0.1)
    ready = await graph.client.get("/readyz")
    assert (ready.status_code, ready.headers["retry-after"], ready.json()["error"]["code"]) == (503, "1", "draining")
    assert (await graph.client.get("/healthz")).status_code == 200
    unaware = asyncio.create_task(graph.client.post(CHAT, json=ask("base")))  # of who has not heard of it
    await asyncio.sleep(0.3)
    assert not short.done()
    for refused in (await graph.client.post(CHAT, json=ask("base")), await graph.client.get("/v1/models")):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["connection"] == "close"
        assert refused.json()["error"]["code"] == "draining"
    whole, cut = await short, await long
    assert whole[-1] == cut[-1] == "[DONE]"
    assert not any('"error"' in event for event in whole)
    assert json.loads(cut[-2])["error"]["code"] == "shutting_down"
    assert (await unaware).status_code == 200
    await following
