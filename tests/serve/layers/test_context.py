from __future__ import annotations

import asyncio
import time

from tests.serve.layers.conftest import count_words, make_graph

SLOW_S = 0.1


async def test_the_loop_goes_on_while_tokens_are_counted() -> None:
    counted: list[str] = []

    def slowly(text: str) -> int:
        time.sleep(SLOW_S)
        counted.append(text)
        return count_words(text)

    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.002)
            beats += 1

    graph = make_graph(keys=False, count_tokens=slowly)
    beating = asyncio.create_task(beat())
    body = {"model": "rag", "messages": [{"role": "user", "content": "How long is the rope?"}]}
    response = await graph.client.post("/v1/chat/completions", json=body)
    beating.cancel()
    assert response.json()["graftwork"]["retrieval"] == "found"
    assert len(counted) > 2
    assert beats > 3 * len(counted), "the loop stood still while tokens were counted"
