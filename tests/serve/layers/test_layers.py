from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest

from indexer.errors import GraftworkError, InputError, NotFoundError, UnavailableError
from indexer.rerank.mixing import Rerank
from tests.serve.layers.conftest import Graph

CHAT = "/v1/chat/completions"


def ask(model: str, **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "How long is the rope?"}], **more}


def events(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


async def test_the_base_answers_unchanged(graph: Graph) -> None:
    response = await graph.client.post(CHAT, json=ask("base", temperature=0.3))
    assert response.json()["choices"][0]["message"]["content"] == graph.engine.text
    assert "graftwork" not in response.json()
    assert graph.engine.requests == [ask("base", temperature=0.3)]


async def test_a_specialist_gets_its_prompt_and_its_defaults_where_the_request_leaves_them_out(graph: Graph) -> None:
    await graph.client.post(CHAT, json=ask("plain", max_tokens=9))
    (sent,) = graph.engine.requests
    assert sent["messages"][0] == {"role": "system", "content": "You keep ropes."}
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("base", 0, 9)


async def test_an_answer_with_retrieval_names_its_sources_and_loses_its_invalid_markers(graph: Graph) -> None:
    body = (await graph.client.post(CHAT, json=ask("rag"))).json()
    assert body["choices"][0]["message"]["content"] == "Twelve metres [1], not nine."
    assert body["model"] == "rag"
    answer = body["graftwork"]
    assert (answer["specialist"], answer["collection"], answer["generation"]) == ("rag", "handbook", 3)
    assert [(c["n"], c["chunk_id"], c["cited"]) for c in answer["citations"]] == [(1, "c1", True), (2, "c2", False)]
    assert answer["invalid_markers"] == 1
    assert {"resolve_ms", "retrieval_ms", "embed_ms", "search_ms", "assembly_ms", "total_ms"} <= set(answer["timings"])
    (query,) = graph.passages.queries
    assert (query.text, query.tenant, query.k) == ("How long is the rope?", "default", 2)
    assert "[2] Title 2 > Ropes\nText 2." in graph.engine.requests[0]["messages"][0]["content"]


async def test_a_specialist_may_have_its_passages_ordered_anew_and_the_time_is_told(graph: Graph) -> None:
    body = (await graph.client.post(CHAT, json=ask("again"))).json()
    assert body["graftwork"]["timings"]["rerank_ms"] == 4.0
    assert graph.passages.queries[0].rerank == Rerank(by="model", depth=9, weight=0.5)
    body = (await graph.client.post(CHAT, json=ask("rag"))).json()
    assert "rerank_ms" not in body["graftwork"]["timings"]
    assert graph.passages.queries[1].rerank is None


async def test_a_stream_passes_unchanged_with_one_event_before_done(graph: Graph) -> None:
    plain = (await graph.client.post(CHAT, json=ask("base", stream=True))).text
    response = await graph.client.post(CHAT, json=ask("rag", stream=True))
    got = events(response.text)
    assert got[-1] == "[DONE]"
    assert [*got[:-2], got[-1]] == events(plain)
    last = json.loads(got[-2])
    assert last["choices"] == []
    assert last["id"] == "chatcmpl-1"
    assert [c["cited"] for c in last["graftwork"]["citations"]] == [True, False]
    assert last["graftwork"]["invalid_markers"] == 1
    assert "first_token_ms" in last["graftwork"]["timings"]


async def test_a_stream_without_a_collection_keeps_its_brackets_and_its_timings(graph: Graph) -> None:
    response = await graph.client.post(CHAT, json=ask("plain", stream=True))
    last = json.loads(events(response.text)[-2])
    assert (last["id"], last["graftwork"]["specialist"]) == ("chatcmpl-1", "plain")
    assert last["graftwork"]["invalid_markers"] == 0
    assert "first_token_ms" in last["graftwork"]["timings"]


async def test_an_adapter_is_loaded_and_named(graph: Graph) -> None:
    body = (await graph.client.post(CHAT, json=ask("both"))).json()
    assert graph.engine.requests[0]["model"] == "ropes@1"
    assert body["graftwork"]["adapter"] == "ropes@1"
    body = (await graph.client.post(CHAT, json=ask("ropes@2"))).json()
    assert (body["graftwork"]["specialist"], body["graftwork"]["adapter"]) == (None, "ropes@2")
    assert graph.adapters.loaded == [1, 2]


def check_unavailable(response: httpx.Response, *named: str) -> None:
    """A 503 in OpenAI's shape that names what is missing and no address, path or cause."""
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "unavailable")
    assert all(f"'{name}'" in error["message"] for name in named)
    assert not any(inside in error["message"] for inside in ("/", "sha256", "10.0.0.7", "engine"))


async def test_a_refused_adapter_is_an_error_by_default(graph: Graph, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    graph.adapters.refuse = {1}
    check_unavailable(await graph.client.post(CHAT, json=ask("both")), "ropes@1", "both")
    check_unavailable(await graph.client.post(CHAT, json=ask("ropes@1")), "ropes@1")
    assert graph.engine.requests == []
    assert "no file /registry/ropes@1/x" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        InputError("The adapter ropes@1 is damaged: adapter_model.safetensors has sha256 0123."),
        NotFoundError("There is no version 1 of the adapter 'ropes' in /registry."),
        UnavailableError("The files of adapter ropes@1 cannot be read ([Errno 5] Input/output error: '/registry')."),
    ],
)
async def test_whatever_is_wrong_with_an_adapters_files_is_the_servers_fault(
    graph: Graph, error: GraftworkError
) -> None:
    graph.files.error = error
    check_unavailable(await graph.client.post(CHAT, json=ask("both")), "ropes@1", "both")
    assert (await graph.client.post(CHAT, json=ask("soft"))).headers["x-graftwork-fallback"] == "base"


async def test_the_check_of_an_adapters_files_counts_as_waiting_for_it(
    graph: Graph, caplog: pytest.LogCaptureFixture
) -> None:
    graph.files.check_s = 30
    async with asyncio.timeout(3):
        check_unavailable(await graph.client.post(CHAT, json=ask("both")), "ropes@1")
    assert "were still being checked after 1 s" in caplog.text


async def test_an_adapters_files_are_kept_for_the_length_of_its_request(graph: Graph) -> None:
    graph.engine.lasts_s = 0.1
    asked = asyncio.create_task(graph.client.post(CHAT, json=ask("both")))
    while not graph.files.used["ropes@1"]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    while not graph.engine.requests:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert graph.files.used["ropes@1"] == 1
    assert (await asked).status_code == 200
    assert graph.files.used["ropes@1"] == 0


async def test_a_fallback_to_the_base_is_marked(graph: Graph) -> None:
    graph.adapters.refuse = {2}
    response = await graph.client.post(CHAT, json=ask("soft"))
    assert response.headers["x-graftwork-fallback"] == "base"
    answer = response.json()["graftwork"]
    assert (answer["adapter"], answer["fallback"]) == (None, "ropes@2")


async def test_the_base_answers_for_an_adapter_that_the_catalogue_lacks_and_says_so(graph: Graph) -> None:
    response = await graph.client.post(CHAT, json=ask("forgiving"))
    assert response.headers["x-graftwork-fallback"] == "base"
    answer = response.json()["graftwork"]
    assert (answer["specialist"], answer["adapter"], answer["fallback"]) == ("forgiving", None, "gone@1")
    assert graph.engine.requests[0]["model"] == "base"


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("Milvus at http://10.0.0.7:19530 did not answer (search: timeout)."),
        NotFoundError("There is no collection 'handbook' at http://10.0.0.7:19530."),
        InputError("Collection 'handbook' was made by embedder /models/other."),
    ],
)
async def test_failed_retrieval_is_an_error_or_a_marked_answer(
    graph: Graph, error: GraftworkError, caplog: pytest.LogCaptureFixture
) -> None:
    graph.passages.error = error
    check_unavailable(await graph.client.post(CHAT, json=ask("rag")), "rag", "handbook")
    assert str(error) in caplog.text
    answer = (await graph.client.post(CHAT, json=ask("lenient"))).json()["graftwork"]
    assert (answer["retrieval"], answer["citations"]) == ("failed", [])


async def test_nothing_found_is_said(graph: Graph) -> None:
    graph.passages.empty = True
    answer = (await graph.client.post(CHAT, json=ask("rag"))).json()["graftwork"]
    assert (answer["retrieval"], answer["citations"]) == ("none found", [])


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "JSON list"),
        (b"{}", 400, "'model' is null"),
        (b'{"model": 7}', 400, "'model' is 7"),
        (b'{"model": "nobody"}', 404, "'nobody' does not exist"),
        (b'{"model": "orphan"}', 404, "adapter 'gone@1'"),
        (b'{"model": "base", "messages": ' + b"[" * 100_000, 400, "more than 100 brackets"),
        (b'{"model": "base", "messages": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "more than 100 brackets"),
        (b'{"model": "base", "user": "\\ud800"}', 400, "'\\ud800', half of a surrogate pair"),
        (b'{"model": "base", "messages": [{"\\uDFFF": 1}]}', 400, "'\\udfff', half of a surrogate pair"),
        (b'{"model": "base", "user": "\xed\xa0\x80"}', 400, "not JSON"),
        (b'{"model": "base", "temperature": NaN}', 400, "NaN is no number"),
        (b'{"model": "base", "cache_salt": 7}', 400, "'cache_salt' is 7"),
        (b'{"model": "base", "request_id": "mine"}', 400, "'request_id' is not taken"),
        (b'{"model": "embedder"}', 404, "'embedder' does not exist"),
    ],
)
async def test_what_cannot_be_resolved_is_an_openai_error(
    graph: Graph, content: bytes, status: int, words: str
) -> None:
    response = await graph.client.post(CHAT, content=content)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert words in error["message"]
    assert graph.engine.requests == []


async def test_models_lists_base_specialists_and_adapters(graph: Graph) -> None:
    body = (await graph.client.get("/v1/models")).json()
    ids = [card["id"] for card in body["data"]]
    assert ids == [
        "base",
        "again",
        "both",
        "forgiving",
        "lenient",
        "narrow",
        "orphan",
        "plain",
        "rag",
        "soft",
        "strict",
        "talker",
        "ropes@1",
        "ropes@2",
        "embedder",
    ]
    assert (await graph.client.get("/v1/models/ropes@2")).json()["kind"] == "adapter"
    assert (await graph.client.get("/v1/models/nobody")).status_code == 404


async def test_a_body_as_deep_as_is_allowed_and_whole_surrogate_pairs_pass(graph: Graph) -> None:
    deep = b"[" * 99 + b"{" * 200 + b"]" * 99
    deep = deep.replace(b"{" * 200, b'"' + b"{" * 200 + b'"')
    content = b'{"model": "base", "prompt": "\\ud83d\\ude00", "x": ' + deep + b"}"
    assert (await graph.client.post("/v1/completions", content=content)).status_code == 200
    assert graph.engine.requests[0]["prompt"] == "\U0001f600"
