"""A specialist that says nothing without a passage, and what it does when the search is late."""

from __future__ import annotations

import json

import openai
import pytest

from tests.serve.layers.conftest import Graph
from tests.serve.layers.test_layers import CHAT, ask, events

SILENT = "The handbook is silent."


def client_of(graph: Graph) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="none", base_url="http://graftwork/v1", http_client=graph.client, max_retries=0)


async def test_nothing_found_is_the_specialists_own_words_and_no_token_of_the_engine(graph: Graph) -> None:
    graph.passages.empty = True
    completion = await client_of(graph).chat.completions.create(
        model="strict", messages=[{"role": "user", "content": "How long?"}], n=2
    )
    assert [choice.message.content for choice in completion.choices] == [SILENT, SILENT]
    assert {choice.finish_reason for choice in completion.choices} == {"stop"}
    assert completion.usage is not None
    assert completion.usage.total_tokens == 0
    assert completion.model_extra is not None
    assert completion.model_extra["graftwork"]["retrieval"] == "none found"
    assert graph.engine.requests == []


@pytest.mark.parametrize("usage", [True, False])
async def test_so_is_a_stream(graph: Graph, usage: bool) -> None:
    graph.passages.empty = True
    stream = await client_of(graph).chat.completions.create(
        model="strict",
        messages=[{"role": "user", "content": "How long?"}],
        stream=True,
        stream_options={"include_usage": usage},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == SILENT
    assert any(chunk.usage is not None for chunk in chunks) == usage
    told = [extra["graftwork"] for chunk in chunks if (extra := chunk.model_extra) and "graftwork" in extra]
    assert [each["retrieval"] for each in told] == ["none found"]
    assert events((await graph.client.post(CHAT, json=ask("strict", stream=True))).text)[-1] == "[DONE]"


async def test_a_score_asked_for_that_no_passage_has_is_refused_too(graph: Graph) -> None:
    answer = (await graph.client.post(CHAT, json=ask("strict", graftwork={"min_score": 3}))).json()
    assert answer["choices"][0]["message"]["content"] == SILENT
    found = (await graph.client.post(CHAT, json=ask("strict"))).json()
    assert found["choices"][0]["message"]["content"] != SILENT
    alone = (await graph.client.post(CHAT, json=ask("strict", graftwork={"retrieve": False}))).json()
    assert alone["graftwork"]["retrieval"] == "off"
    assert alone["choices"][0]["message"]["content"] != SILENT


async def test_a_search_that_is_late_has_failed_by_the_specialists_own_time(graph: Graph) -> None:
    graph.passages.lasts_s = 0.4
    response = await graph.client.post(CHAT, json=ask("strict"))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert (await graph.client.post(CHAT, json=ask("rag"))).status_code == 200


async def test_a_source_says_where_it_stands_and_a_cited_one_what_it_says(graph: Graph) -> None:
    first, second = (await graph.client.post(CHAT, json=ask("rag"))).json()["graftwork"]["citations"]
    assert (first["cited"], first["quote"], second["cited"], second["quote"]) == (True, "Text 1.", False, None)
    assert (first["page"], first["start"], first["end"]) == (None, 0, 7)
    assert json.dumps(first)
