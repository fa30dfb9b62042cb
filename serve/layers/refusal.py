"""Answers in the model's place where a specialist says nothing without a passage."""

from __future__ import annotations

import json
import time
import uuid

from pydantic import JsonValue
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.call import Call, JsonObject, Usage, get_call
from serve.layers.http import send_json

_MOST_CHOICES = 128  # OpenAI's own limit
_NO_USAGE: JsonObject = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class RefusalLayer:
    """Gives the specialist's own words, whole or as a stream, as the engine would; everything else goes on."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the engine's layer."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None or call.refusal is None:
            await self._app(scope, receive, send)
            return
        call.usage = Usage()
        if not call.stream:
            call.answer = whole(call, call.refusal)
            await send_json(send, status=200, content=call.answer)
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": stream(call, call.refusal)})


def whole(call: Call, text: str) -> JsonObject:
    """A chat completion with one text for each choice that was asked for."""
    choices: list[JsonValue] = [
        {
            "index": number,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for number in range(_choices(call))
    ]
    return {**_head("chat.completion", call), "choices": choices, "usage": _NO_USAGE}


def stream(call: Call, text: str) -> bytes:
    """The same as the events of a stream, its end included."""
    head = _head("chat.completion.chunk", call)
    chunks: list[JsonObject] = []
    for number in range(_choices(call)):
        delta: JsonObject = {"role": "assistant", "content": text}
        chunks.append({**head, "choices": [{"index": number, "delta": delta, "finish_reason": None}]})
        chunks.append({**head, "choices": [{"index": number, "delta": {}, "finish_reason": "stop"}]})
    options = call.body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        chunks.append({**head, "choices": [], "usage": _NO_USAGE})
    events = [json.dumps(chunk, ensure_ascii=False, separators=(",", ":")) for chunk in chunks]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def _head(kind: str, call: Call) -> JsonObject:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": call.target.name,
    }


def _choices(call: Call) -> int:
    number = call.body.get("n")
    return min(number, _MOST_CHOICES) if isinstance(number, int) and number > 0 else 1
