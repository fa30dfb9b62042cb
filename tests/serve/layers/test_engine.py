from __future__ import annotations

import json
import sys

import pytest
from pydantic import JsonValue

from serve.layers.call import Usage
from serve.layers.engine import reshaped, usage_of, with_usage
from serve.routes import CHAT as CHAT_ROUTE
from serve.routes import MESSAGES
from tests.serve.layers.conftest import USAGE, Graph
from tests.serve.layers.test_layers import CHAT, ask, events


async def test_usage_is_asked_for_and_taken_out_of_a_stream_that_did_not(graph: Graph) -> None:
    response = await graph.client.post(CHAT, json=ask("base", stream=True))
    assert graph.engine.requests[0]["stream_options"] == {"include_usage": True}
    assert not any('"usage"' in event for event in events(response.text))
    assert events(response.text)[-1] == "[DONE]"


async def test_usage_stays_in_a_stream_that_asked_for_it(graph: Graph) -> None:
    options = {"include_usage": True, "continuous_usage_stats": False}
    response = await graph.client.post(CHAT, json=ask("base", stream=True, stream_options=options))
    assert graph.engine.requests[0]["stream_options"] == options
    assert json.loads(events(response.text)[-2])["usage"] == USAGE


async def test_the_engine_gets_an_id_of_ours_for_every_request(graph: Graph) -> None:
    for _ in range(2):
        await graph.client.post(CHAT, json=ask("base"), headers={"x-request-id": "the same"})
    first, second = (headers[b"x-request-id"] for headers in graph.engine.headers)
    assert first != second
    assert b"the same" not in (first, second)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_a_body_that_does_not_stream_or_tells_anyway_is_left_alone(options: dict[str, bool] | None) -> None:
    body = {"model": "base", "stream_options": options}
    assert with_usage({**body}, CHAT_ROUTE) == (body, True)
    assert with_usage({**body, "stream": True}, MESSAGES) == ({**body, "stream": True}, True)
    assert with_usage({**body, "stream": True}, CHAT_ROUTE)[1] is False


def test_options_that_are_no_object_are_for_vllm_to_refuse() -> None:
    body: dict[str, JsonValue] = {"stream": True, "stream_options": 7}
    assert with_usage(body, CHAT_ROUTE) == (body, True)


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 2}}, Usage(3, 2)),
        (
            {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}},
            Usage(3, 2, 1),
        ),
        ({"response": {"usage": {"input_tokens": 4, "output_tokens": 5}}}, Usage(4, 5)),
        ({"message": {"usage": {"input_tokens": 4, "output_tokens": 0, "cache_read_input_tokens": 2}}}, Usage(4, 0, 2)),
        ({"usage": None}, None),
        ({"choices": []}, None),
        ([], None),
    ],
)
def test_usage_is_read_by_whichever_names_a_route_has(answer: object, usage: Usage | None) -> None:
    assert usage_of(answer) == usage  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "code", "error"),
    [
        (
            b'data: {"error":{"message":"It\\nbroke","type":"BadRequestError","param":null,"code":400}}\n\n',
            "invalid_request",
            {"type": "invalid_request_error", "message": "It broke"},
        ),
        (
            b'data: {"error": {"message":"/usr/lib","type":"InternalServerError","param":null,"code":500}}\n\n',
            "internal_error",
            {"type": "server_error"},
        ),
        (
            b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"/usr/lib"}}\n\n',
            "internal_error",
            {"type": "server_error"},
        ),
    ],
)
def test_an_error_inside_of_a_stream_gets_the_shape_of_all_others(
    event: bytes, code: str, error: dict[str, str]
) -> None:
    shaped, found = reshaped(event)
    assert found == code
    assert b"/usr" not in shaped
    assert shaped.endswith(b"\n\n")
    assert shaped.splitlines()[:-2] == event.splitlines()[:-2]
    content = json.loads(shaped.split(b"data: ")[1])
    assert content.get("type") == ("error" if event.startswith(b"event") else None)
    assert {**error, "code": code}.items() <= content["error"].items()


def test_an_event_of_another_shape_passes_and_is_still_an_error() -> None:
    event = b'event: response.failed\ndata: {"type":"response.failed","response":{}}\n\n'
    assert reshaped(event) == (event, "internal_error")


@pytest.mark.parametrize("model", ["base", "rag"])
async def test_a_request_is_parsed_and_written_once_and_so_is_its_answer(
    graph: Graph, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    loads, dumps = json.loads, json.dumps

    def ours() -> bool:
        return str(sys._getframe(2).f_globals["__name__"]).startswith("serve.")

    def count_loads(text: str | bytes, **options: object) -> object:
        found = loads(text, **options)
        if ours():
            counted.extend(f"parse {word}" for word in ("QUESTION", "Twelve") if word in dumps(found))
        return found

    def count_dumps(value: object, **options: object) -> str:
        text = dumps(value, **options)
        if ours():
            counted.extend(f"write {word}" for word in ("QUESTION", "Twelve") if word in text)
        return text

    monkeypatch.setattr(json, "loads", count_loads)
    monkeypatch.setattr(json, "dumps", count_dumps)
    body = {"model": model, "messages": [{"role": "user", "content": "QUESTION"}]}
    assert (await graph.client.post(CHAT, json=body)).status_code == 200
    answered = ["parse Twelve"] if model == "base" else ["parse Twelve", "write Twelve"]
    # The engine's stand-in writes the answer, too, by `send_json`.
    assert counted == ["parse QUESTION", "write QUESTION", "write Twelve", *answered]
