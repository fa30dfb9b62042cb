"""The live app behind HAProxy: the OpenAI surface, specialists, adapters by name, sources."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import openai
import pytest

from tests.stack import HANDBOOK, Stack

pytestmark = pytest.mark.stack

QUESTION = [{"role": "user", "content": "How long is the hawser of the north berth?"}]


def answer_of(completion: object) -> dict[str, object]:
    """The `graftwork` object of an answer or of a chunk."""
    extra = completion.model_extra
    return dict(extra["graftwork"]) if extra and "graftwork" in extra else {}


def wait_for_models(stack: Stack, *names: str) -> set[str]:
    """A replica learns of a change within its poll interval."""
    deadline = time.monotonic() + 15
    while True:
        found = {model.id for model in stack.client.models.list()}
        if set(names) <= found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def test_models_lists_base_specialists_and_adapter_versions(stack: Stack) -> None:
    names = {"base", "plain", "retrieval", "adapter", "both", "ropes@1", "ropes@2"}
    assert names <= wait_for_models(stack, *names)
    assert stack.client.models.retrieve("ropes@2").id == "ropes@2"


def test_a_whole_answer_names_its_sources(stack: Stack) -> None:
    completion = stack.client.chat.completions.create(model="both", messages=QUESTION)
    answer = answer_of(completion)
    assert completion.model == "both"
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0
    assert (answer["specialist"], answer["adapter"], answer["collection"]) == ("both", "ropes@2", "handbook")
    assert answer["generation"] == 1
    citations = answer["citations"]
    assert [citation["n"] for citation in citations] == [1, 2]
    assert citations[0]["title"] == "Ropes of Tarn Quay"
    assert citations[0]["heading"].endswith("Hawser")
    assert citations[0]["uri"].endswith("ropes.md")
    assert set(answer["timings"]) >= {"resolve_ms", "adapter_ms", "embed_ms", "search_ms", "generate_ms", "total_ms"}


def test_a_request_changes_its_retrieval(stack: Stack) -> None:
    def sources(**changes: object) -> list[str]:
        completion = stack.client.chat.completions.create(
            model="retrieval", messages=QUESTION, extra_body={"graftwork": changes}
        )
        return [str(citation["uri"]).rpartition("/")[2] for citation in answer_of(completion)["citations"]]  # type: ignore[attr-defined]

    assert sources()[0] == "ropes.md"
    assert sources(query="What burns rape oil?", k=1) == ["lamps.md"]
    assert sources(filter={"field": "uri", "op": "starts with", "value": "file:///nowhere"}) == []
    assert set(sources(k=5, filter={"not": {"field": "title", "op": "==", "value": "Lamps"}})) == {
        "ropes.md",
        "tides.txt",
    }
    assert len(sources(k=5, neighbours=5)) == 3
    assert sources(retrieve=False) == []
    with pytest.raises(openai.BadRequestError, match=r"graftwork\.k"):
        sources(k=1000)


def test_passages_alone(stack: Stack) -> None:
    body = {"model": "retrieval", "query": "How long is the hawser?", "graftwork": {"k": 1}}
    (passage,) = stack.http.post("/v1/retrieve", json=body).json()["data"]
    assert passage["title"] == "Ropes of Tarn Quay"
    assert passage["heading_path"][-1] == "Hawser"
    assert "212 metres" in passage["text"]
    assert 0 <= passage["start"] < passage["end"]


def test_a_stream_carries_the_same_object_in_one_event_before_done(stack: Stack) -> None:
    whole = stack.client.chat.completions.create(model="retrieval", messages=QUESTION)
    chunks = list(
        stack.client.chat.completions.create(
            model="retrieval", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    carrying = [chunk for chunk in chunks if answer_of(chunk)]
    assert carrying == chunks[-1:]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    streamed, direct = answer_of(carrying[0]), answer_of(whole)
    assert streamed["citations"] == direct["citations"]
    assert any(chunk.usage for chunk in chunks)


def test_the_stream_of_a_specialist_is_the_engines_but_for_one_event(stack: Stack) -> None:
    body = {"messages": QUESTION, "stream": True, "seed": 1, "temperature": 0, "max_tokens": 6}
    plain = stack.http.post("/v1/chat/completions", json={"model": "base", **body}).text
    ours = stack.http.post("/v1/chat/completions", json={"model": "retrieval", **body}).text
    assert "graftwork" not in plain
    kinds = [set(json.loads(line[6:])) for line in ours.splitlines() if line.startswith("data: {")]
    assert kinds[:-1] == [set(json.loads(line[6:])) for line in plain.splitlines() if line.startswith("data: {")]
    assert "graftwork" in kinds[-1]
    assert ours.endswith("data: [DONE]\n\n")


def test_every_adapter_version_answers_as_itself(stack: Stack) -> None:
    def tokens(model: str) -> str:
        completion = stack.client.chat.completions.create(model=model, messages=QUESTION, temperature=0, max_tokens=8)
        return completion.choices[0].message.content or ""

    first = {model: tokens(model) for model in ("base", "ropes@1", "ropes@2")}
    assert len(set(first.values())) == 3
    assert {model: tokens(model) for model in ("ropes@2", "base", "ropes@1")} == first
    assert tokens("ropes") == first["ropes@2"]


async def test_requests_for_all_specialists_at_once_do_not_mix(stack: Stack) -> None:
    """Each model gives the first token its own probability, alone and among others; batching moves it by rounding."""
    names = ("plain", "retrieval", "both", "ropes@1", "ropes@2", "base")

    async def first_logprob(client: openai.AsyncOpenAI, model: str) -> float:
        completion = await client.chat.completions.create(
            model=model, messages=QUESTION, temperature=0, max_tokens=1, logprobs=True
        )
        assert completion.choices[0].logprobs is not None
        return completion.choices[0].logprobs.content[0].logprob

    async with stack.async_client as client:
        alone = {model: await first_logprob(client, model) for model in names}
        together = await asyncio.gather(*(first_logprob(client, model) for model in names * 4))
    distances = [abs(a - b) for a, b in itertools.combinations(alone.values(), 2)]
    for model, logprob in zip(names * 4, together, strict=True):
        assert abs(logprob - alone[model]) < min(distances) / 2, model


def test_an_unknown_model_is_404_in_openais_shape(stack: Stack) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        stack.client.chat.completions.create(model="nobody", messages=QUESTION)
    assert caught.value.body == {
        "message": "The model 'nobody' does not exist; GET /v1/models lists those that do.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
        "request_id": caught.value.request_id,
    }
    assert caught.value.request_id


def test_a_question_longer_than_the_context_is_refused_and_the_next_one_works(stack: Stack) -> None:
    long = [{"role": "user", "content": "rope " * 3000}]
    for model in ("base", "retrieval"):
        with pytest.raises(openai.BadRequestError, match="maximum context length is 1024"):
            stack.client.chat.completions.create(model=model, messages=long)
    assert stack.client.chat.completions.create(model="retrieval", messages=QUESTION).choices


def test_a_generous_retrieval_is_cut_to_what_the_model_takes(stack: Stack) -> None:
    question = [{"role": "user", "content": "rope " * 800}]
    completion = stack.client.chat.completions.create(model="retrieval", messages=question, max_tokens=8)
    answer = answer_of(completion)
    assert len(answer["citations"]) + answer["dropped_passages"] == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"model": 1}', b'{"messages": []}'])
def test_what_is_no_request_is_a_400(stack: Stack, content: bytes) -> None:
    response = stack.http.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert isinstance(error["code"], str)


def test_only_the_listed_routes_of_the_engine_are_open(stack: Stack) -> None:
    for path in (
        "/invocations",
        "/inference/v1/generate",
        "/v1/load_lora_adapter",
        "/sleep",
        "/v1/messages/count_tokens",
    ):
        response = stack.http.post(path, json={"model": "base", "input": "rope", "messages": QUESTION})
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")
    for path in ("/health", "/metrics", "/version", "/docs", "/openapi.json"):
        assert stack.http.get(path).status_code == 404
    assert stack.http.get("/v1/chat/completions").headers["allow"] == "POST"
    assert stack.http.get("/healthz").json() == {"status": "ok"}
    assert stack.http.get("/readyz").json()["status"] == "ready"
    tokens = stack.http.post("/tokenize", json={"model": "base", "prompt": "rope"}).json()["tokens"]
    assert "rope" in stack.http.post("/detokenize", json={"model": "base", "tokens": tokens}).json()["prompt"]


def test_a_client_that_leaves_frees_its_adapter(stack: Stack) -> None:
    with stack.client.chat.completions.create(
        model="ropes@1", messages=QUESTION, stream=True, max_tokens=800, extra_body={"ignore_eos": True}
    ) as stream:
        next(iter(stream))
    completion = stack.client.chat.completions.create(model="ropes@2", messages=QUESTION, max_tokens=2)
    assert completion.choices


def test_a_new_version_is_served_without_a_restart(stack: Stack) -> None:
    source = stack.home / "adapter-1"
    ref = stack.run("adapters", "import", str(source), "--name", "late", "--json").json
    assert ref["version"] == 1
    assert "late@1" in wait_for_models(stack, "late@1")
    completion = stack.client.chat.completions.create(model="late@1", messages=QUESTION, max_tokens=2)
    assert answer_of(completion)["adapter"] == "late@1"


async def test_adapters_that_are_always_in_use_do_not_starve_a_third(stack: Stack) -> None:
    """Two have all the slots, by three requests each that overlap; their turns last 2 s (serve.adapter_cycle_s)."""
    wait_for_models(stack, "late@1")
    ends = time.monotonic() + 6

    async with stack.async_client as client:

        async def keep_asking(model: str) -> int:
            asked = 0
            while time.monotonic() < ends:
                completion = await client.chat.completions.create(
                    model=model, messages=QUESTION, max_tokens=30, extra_body={"ignore_eos": True}
                )
                assert answer_of(completion)["adapter"] == model
                asked += 1
            return asked

        busy = [asyncio.create_task(keep_asking(model)) for model in ("ropes@1", "ropes@2") * 3]
        await asyncio.sleep(1)
        since = time.monotonic()
        completion = await client.chat.completions.create(model="late@1", messages=QUESTION, max_tokens=2)
        waited_s = time.monotonic() - since
        asked = await asyncio.gather(*busy)
    assert answer_of(completion)["adapter"] == "late@1"
    assert waited_s < 4.5
    assert min(asked) > 1


def test_the_routers_header_must_name_the_bodys_model(stack: Stack) -> None:
    body = {"model": "ropes@1", "messages": QUESTION, "max_tokens": 2}
    answer = stack.http.post("/v1/chat/completions", json=body, headers={"x-graftwork-model": "ropes@1; session=s"})
    assert answer.status_code == 200
    answer = stack.http.post("/v1/chat/completions", json=body, headers={"x-graftwork-model": "ropes@2"})
    assert answer.status_code == 400
    assert "names 'ropes@2' and the body 'ropes@1'" in answer.json()["error"]["message"]


def test_new_documents_are_found_without_a_restart(stack: Stack) -> None:
    folder = stack.home / "handbook"
    (folder / "anchors.md").write_text(
        "# Anchors\n\nThe sheet anchor weighs 940 kilograms and hangs on the port bow.\n"
    )
    stack.run("index", str(folder), "--collection", "handbook")
    question = [{"role": "user", "content": "What does the sheet anchor weigh?"}]
    answer = answer_of(stack.client.chat.completions.create(model="retrieval", messages=question))
    assert answer["citations"][0]["uri"].endswith("anchors.md")
    assert len(HANDBOOK) == 3
