"""What the official clients can ask of the live app, streaming and not: vLLM's answers, unchanged."""

from __future__ import annotations

import json
import math

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import SecretStr

from tests.serve.test_app import answer_of
from tests.stack import Stack

pytestmark = pytest.mark.stack

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "How long is the hawser?"}]
SCHEMA = {
    "type": "object",
    "properties": {"metres": {"type": "integer", "minimum": 0, "maximum": 9}, "tarred": {"type": "boolean"}},
    "required": ["metres", "tarred"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "measure", "description": "Measure a rope.", "parameters": SCHEMA}}
CALL = '<tool_call>{"name": "measure", "arguments": {"metres":7,"tarred":true}}</tool_call><|im_end|>'
NAMED = {"type": "function", "function": {"name": "measure"}}


def test_a_chat_names_its_model_finish_and_usage(stack: Stack) -> None:
    completion = stack.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=3, seed=1)
    assert (completion.object, completion.model) == ("chat.completion", "base")
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 3
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 3


def test_a_stream_has_the_text_of_the_whole_answer(stack: Stack) -> None:
    whole = stack.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=6, temperature=0)
    chunks = list(
        stack.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=6, temperature=0, stream=True)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("model", ["base", "retrieval", "ropes@1"])
def test_usage_comes_last_where_it_is_asked_for(stack: Stack, model: str) -> None:
    chunks = list(
        stack.client.chat.completions.create(
            model=model, messages=QUESTION, max_tokens=4, stream=True, stream_options={"include_usage": True}
        )
    )
    told = [chunk for chunk in chunks if chunk.usage]
    assert len(told) == 1
    assert told[0].choices == []
    assert told[0].usage is not None
    assert told[0].usage.completion_tokens == 4


def test_several_choices_are_told_apart(stack: Stack) -> None:
    completion = stack.client.chat.completions.create(
        model="base", messages=QUESTION, n=3, max_tokens=8, temperature=1.5, seed=7
    )
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in completion.choices}) > 1
    streamed = stack.client.chat.completions.create(model="base", messages=QUESTION, n=3, max_tokens=4, stream=True)
    assert {chunk.choices[0].index for chunk in streamed if chunk.choices} == {0, 1, 2}


def test_the_same_seed_gives_the_same_answer(stack: Stack) -> None:
    def sample(seed: int) -> str | None:
        completion = stack.client.chat.completions.create(
            model="base", messages=QUESTION, max_tokens=12, temperature=1.5, seed=seed
        )
        return completion.choices[0].message.content

    assert sample(3) == sample(3)
    assert sample(3) != sample(4)


def test_a_stop_ends_the_answer(stack: Stack) -> None:
    whole = stack.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=12, temperature=0)
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 :][:4]
    stopped = stack.client.chat.completions.create(
        model="base", messages=QUESTION, max_tokens=12, temperature=0, stop=[stop]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == text.split(stop)[0]


def test_logprobs_are_those_of_the_tokens(stack: Stack) -> None:
    completion = stack.client.chat.completions.create(
        model="base", messages=QUESTION, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    assert completion.choices[0].logprobs is not None
    tokens = completion.choices[0].logprobs.content or []
    assert len(tokens) == 3
    for token in tokens:
        assert len(token.top_logprobs) == 2
        assert math.isclose(token.logprob, max(top.logprob for top in token.top_logprobs))


@pytest.mark.parametrize("model", ["base", "retrieval", "both"])
def test_an_answer_keeps_to_a_json_schema(stack: Stack, model: str) -> None:
    completion = stack.client.chat.completions.create(
        model=model,
        messages=QUESTION,
        max_tokens=64,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "rope", "schema": SCHEMA, "strict": True}},
    )
    answer = json.loads(completion.choices[0].message.content or "")
    assert set(answer) == {"metres", "tarred"}


def in_words_of_a_call(stack: Stack) -> dict[str, object]:
    """Options that leave a model of random weights no words but those of a call; it writes blanks where JSON may."""
    body = {"model": "base", "prompt": CALL, "add_special_tokens": False}
    tokens = stack.http.post("/tokenize", json=body).json()["tokens"]
    return {"temperature": 0, "max_tokens": 60, "extra_body": {"allowed_token_ids": sorted(set(tokens))}}


@pytest.mark.parametrize("choice", [NAMED, "required"])
def test_a_tool_that_must_be_called_is_with_arguments_of_its_schema(stack: Stack, choice: object) -> None:
    completion = stack.client.chat.completions.create(  # type: ignore[call-overload]
        model="base", messages=QUESTION, tools=[TOOL], tool_choice=choice, **in_words_of_a_call(stack)
    )
    call, *_ = completion.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "measure"
    assert set(json.loads(call.function.arguments)) == {"metres", "tarred"}


def test_a_tool_that_may_be_called_need_not_be(stack: Stack) -> None:
    completion = stack.client.chat.completions.create(
        model="base",
        messages=QUESTION,
        tools=[TOOL],  # type: ignore[list-item]
        tool_choice="auto",
        max_tokens=4,
    )
    assert completion.choices[0].message.content
    assert not completion.choices[0].message.tool_calls


def test_a_completion_takes_several_prompts(stack: Stack) -> None:
    completion = stack.client.completions.create(model="ropes@1", prompt=["The rope", "The lamp"], max_tokens=2)
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 4


def test_a_completion_streams(stack: Stack) -> None:
    chunks = list(stack.client.completions.create(model="base", prompt="The rope", max_tokens=5, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"


def test_tokens_go_there_and_back(stack: Stack) -> None:
    counted = stack.http.post("/tokenize", json={"model": "both", "prompt": "The hawser"}).json()
    text = stack.http.post("/detokenize", json={"model": "both", "tokens": counted["tokens"]}).json()["prompt"]
    assert text == "The hawser"
    assert counted["count"] == len(counted["tokens"])


def test_embeddings_have_unit_length_and_tell_like_from_unlike(stack: Stack) -> None:
    texts = ["The hawser is a thick rope.", "A heavy mooring line.", "Parliament passed the budget."]
    for numbers in (True, False):  # without a format the client asks for base64 and decodes it
        form = {"encoding_format": "float"} if numbers else {}
        answer = stack.client.embeddings.create(model="embedder", input=texts, **form)  # type: ignore[arg-type]
        rope, line, budget = (entry.embedding for entry in answer.data)
        assert math.isclose(sum(number * number for number in rope), 1.0, abs_tol=1e-3)
        alike, unlike = (sum(a * b for a, b in zip(rope, other, strict=True)) for other in (line, budget))
        assert alike > unlike + 0.2
        assert answer.usage.prompt_tokens > len(texts) * 3


def test_a_response_answers_and_streams(stack: Stack) -> None:
    response = stack.client.responses.create(model="base", input="The rope", max_output_tokens=4, temperature=0)
    assert response.usage is not None
    assert response.usage.output_tokens == 4
    kinds = [
        event.type
        for event in stack.client.responses.create(model="base", input="The rope", max_output_tokens=4, stream=True)
    ]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")


def test_a_message_answers_and_streams(stack: Stack) -> None:
    body = {"model": "ropes@1", "max_tokens": 4, "messages": [{"role": "user", "content": "The rope"}]}
    answer = stack.http.post("/v1/messages", json=body).json()
    assert (answer["type"], answer["role"], answer["usage"]["output_tokens"]) == ("message", "assistant", 4)
    events = stack.http.post("/v1/messages", json={**body, "stream": True}).text
    assert events.index("event: message_start") < events.index("event: message_stop")


async def test_the_asynchronous_client_asks_streams_embeds_and_is_told_what_is_wrong(stack: Stack) -> None:
    async with stack.async_client as client:
        stream = await client.chat.completions.create(model="both", messages=QUESTION, max_tokens=4, stream=True)
        chunks = [chunk async for chunk in stream]
        whole = await client.chat.completions.create(model="both", messages=QUESTION, max_tokens=4)
        vectors = await client.embeddings.create(model="embedder", input=["rope", "lamp"])
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="nobody", messages=QUESTION)
    assert answer_of(chunks[-1])["specialist"] == answer_of(whole)["specialist"] == "both"
    assert [len(entry.embedding) for entry in vectors.data] == [384, 384]
    assert caught.value.code == "model_not_found"


def streamed(stack: Stack, **more: object) -> list[ChatCompletionChunk]:
    return list(stack.client.chat.completions.create(model="base", messages=QUESTION, stream=True, **more))  # type: ignore[call-overload]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_stream_keeps_to_a_json_schema(stack: Stack) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "rope", "schema": SCHEMA, "strict": True}}
    chunks = streamed(stack, max_tokens=64, temperature=0, response_format=form)
    assert set(json.loads(text_of(chunks))) == {"metres", "tarred"}


def test_a_stream_has_the_logprobs_of_its_tokens(stack: Stack) -> None:
    chunks = streamed(stack, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2)
    told = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices and chunk.choices[0].logprobs]
    tokens = [token for each in told for token in each.content or []]
    assert len(tokens) == 3
    assert all(len(token.top_logprobs) == 2 for token in tokens)


def test_a_stream_ends_at_a_stop(stack: Stack) -> None:
    text = text_of(streamed(stack, max_tokens=12, temperature=0))
    stop = text[len(text) // 2 :][:4]
    chunks = streamed(stack, max_tokens=12, temperature=0, stop=[stop])
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert text_of(chunks) == text.split(stop)[0]


def test_the_same_seed_gives_the_same_stream(stack: Stack) -> None:
    first, again, other = (text_of(streamed(stack, max_tokens=12, temperature=1.5, seed=seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_a_tool_is_called_in_a_stream(stack: Stack) -> None:
    chunks = streamed(stack, tools=[TOOL], tool_choice=NAMED, **in_words_of_a_call(stack))
    calls = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    functions = [call.function for call in calls if call.function]
    assert [function.name for function in functions if function.name] == ["measure"]
    assert set(json.loads("".join(function.arguments or "" for function in functions))) == {"metres", "tarred"}


def test_a_completion_echoes_its_prompt_with_logprobs(stack: Stack) -> None:
    completion = stack.client.completions.create(
        model="base", prompt="The rope", max_tokens=2, temperature=0, echo=True, logprobs=1
    )
    (choice,) = completion.choices
    assert choice.text.startswith("The rope")
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or []) == choice.text
    first, *others = choice.logprobs.token_logprobs or []
    assert first is None
    assert all(number <= 0 for number in others)


async def test_langchain_asks_streams_embeds_calls_tools_and_keeps_to_a_schema(stack: Stack) -> None:
    key = SecretStr("none")
    base_url = f"{stack.url}/v1"
    chat = ChatOpenAI(model="retrieval", base_url=base_url, api_key=key, temperature=0, max_completion_tokens=64)
    answer = await chat.ainvoke("How long is the hawser?")
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert len([chunk async for chunk in chat.astream("How long is the hawser?")]) > 2
    structured = chat.with_structured_output({"title": "rope", **SCHEMA}, method="json_schema")
    assert set(await structured.ainvoke("How long is the hawser?")) == {"metres", "tarred"}  # type: ignore[arg-type]
    calling = chat.bind_tools([TOOL], tool_choice="measure")
    called = await calling.ainvoke("How long is the hawser?", model="base", **in_words_of_a_call(stack))  # type: ignore[arg-type]
    assert [tool["name"] for tool in called.tool_calls] == ["measure"]  # type: ignore[attr-defined]
    assert set(called.tool_calls[0]["args"]) == {"metres", "tarred"}  # type: ignore[attr-defined]
    embeddings = OpenAIEmbeddings(model="embedder", base_url=base_url, api_key=key, check_embedding_ctx_length=False)
    assert len(await embeddings.aembed_query("rope")) == 384


def test_the_request_id_of_the_client_comes_back(stack: Stack) -> None:
    body = {"model": "base", "messages": QUESTION, "max_tokens": 1}
    for path, sent in (("/v1/chat/completions", body), ("/v1/chat/completions", {"model": "nobody"})):
        response = stack.http.post(path, json=sent, headers={"x-request-id": "mine-7"})
        assert response.headers["x-request-id"] == "mine-7"
    assert response.json()["error"]["request_id"] == "mine-7"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/base", "/healthz", "/readyz"])
def test_what_is_read_is_json(stack: Stack, path: str) -> None:
    response: httpx.Response = stack.http.get(path)
    assert response.status_code == 200
    assert isinstance(response.json(), dict)


def test_an_error_of_the_engine_has_a_word_for_a_code(stack: Stack) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stack.client.chat.completions.create(model="base", messages=QUESTION, top_p=7)
    assert (caught.value.code, caught.value.type) == ("invalid_request", "invalid_request_error")
    assert "top_p" in str(caught.value.message)
