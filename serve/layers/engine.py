"""The layer next to vLLM: writes the body once, counts what a request costs, and keeps clients' ids out of the engine.

A stream's usage comes in its last event. Where the client did not ask for it, it is asked for here and taken out of the
stream again; all other bytes pass as they came.
"""

from __future__ import annotations

import json
import time
import uuid

from pydantic import JsonValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.layers.call import Call, JsonObject, Usage, get_call
from serve.layers.errors import INTERNAL, shaped
from serve.layers.http import is_stream, replay, with_content_length, with_header
from serve.layers.sse import Events
from serve.routes import Route

_OK = 200
_GENERATE, _FIRST_TOKEN = "generate_ms", "first_token_ms"
_DATA = b"data: "
_DONE = b"data: [DONE]"
_USAGE = b'"usage":{'
# What begins an event with an error: in chats and completions, in responses and messages.
_ERROR = (b'data: {"error":', b"event: error\n", b"event: response.failed\n")
# Every generated token's event has one of these; the first event of a chat, which names the speaker, has an empty one.
_TEXT = (b'"delta":{"', b'"text":"', b'.delta"', b'_delta"')
_SPEAKER = b'"role":"assistant"'


class EngineLayer:
    """Sends a call to vLLM and measures what comes back."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap vLLM's app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None:
            await self._app(scope, receive, send)
            return
        body, tells_usage = with_usage(call.body, call.route)
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        call.engine_id = uuid.uuid4().hex
        inner = with_header(with_content_length(scope, len(data)), b"x-request-id", call.engine_id.encode())
        if call.route.generates:
            call.usage = Usage()
            send = _Meter(call, send=send, tells_usage=tells_usage)
        since = time.perf_counter()
        try:
            await self._app(inner, replay(data, receive), send)
        finally:
            if call.route.generates and _GENERATE not in call.timings:
                call.clock(_GENERATE, since)


class _Meter:
    """A send channel that reads usage, and the times of a stream's tokens."""

    def __init__(self, call: Call, *, send: Send, tells_usage: bool) -> None:
        self._call = call
        self._send = send
        self._tells_usage = tells_usage
        self._sent = self._last = time.perf_counter()
        self._events: Events | None = None
        self._status = 0
        self._whole: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if is_stream(message):
                self._events = Events()
        elif message["type"] == "http.response.body" and self._status == _OK:
            message = self._pass(message, message.get("body", b""), last=not message.get("more_body"))
            if not message["body"] and message.get("more_body"):
                return
        await self._send(message)

    def _pass(self, message: Message, data: bytes, *, last: bool) -> Message:
        if self._events is not None:
            data = b"".join(self._event(event) for event in self._events.feed(data, last=last))
        else:
            self._whole.append(data)
            if last:
                answer = json.loads(b"".join(self._whole))
                self._call.answer = answer if isinstance(answer, dict) else None  # `null` where the client has gone
                self._read(answer)
        if last and _GENERATE not in self._call.timings:
            self._call.clock(_GENERATE, self._sent)
        return {**message, "body": data}

    def _event(self, event: bytes) -> bytes:
        if event.startswith(_DONE):
            self._call.clock(_GENERATE, self._sent)
            return event
        if event.startswith(_ERROR):
            event, self._call.error = reshaped(event)
            return event
        if _USAGE in event:
            chunk = self._read_event(event)
            if chunk.get("choices") == [] and not self._tells_usage:
                return b""
        if any(mark in event for mark in _TEXT) and _SPEAKER not in event:
            self._token()
        return event

    def _token(self) -> None:
        now = time.perf_counter()
        if self._call.first_token is None:
            self._call.first_token = now
            self._call.clock(_FIRST_TOKEN, self._sent)
        else:
            self._call.token_gaps.append(now - self._last)
        self._last = now

    def _read_event(self, event: bytes) -> JsonObject:
        for line in event.splitlines():
            if line.startswith(_DATA):
                chunk = json.loads(line[len(_DATA) :])
                if isinstance(chunk, dict):
                    self._read(chunk)
                    return chunk
        return {}

    def _read(self, answer: JsonValue) -> None:
        found = usage_of(answer)
        if found is not None:
            self._call.usage = found


def with_usage(body: JsonObject, route: Route) -> tuple[JsonObject, bool]:
    """A body whose stream ends with its usage, and whether the client gets to see that.

    Args:
        body: The request's body.
        route: Its route; those without `stream_options` always tell their usage.
    """
    options = body.get("stream_options") or {}
    if body.get("stream") is not True or not route.annotated or not isinstance(options, dict):
        return body, True
    if options.get("include_usage") is True:
        return body, True
    return {**body, "stream_options": {**options, "include_usage": True}}, False


def usage_of(answer: JsonValue) -> Usage | None:
    """The usage in an answer or an event, by whichever of the names the routes have; None where there is none.

    Chat and completions have prompt_tokens and completion_tokens, responses and messages input_tokens and
    output_tokens; in a stream these stand below `response` or `message`.
    """
    if not isinstance(answer, dict):
        return None
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return next((found for key in ("response", "message") if (found := usage_of(answer.get(key)))), None)
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("cache_read_input_tokens")
    return Usage(
        prompt=_count(usage, "prompt_tokens", "input_tokens"),
        completion=_count(usage, "completion_tokens", "output_tokens"),
        cached=cached if isinstance(cached, int) else None,
    )


def _count(usage: JsonObject, *names: str) -> int:
    return next((value for name in names if isinstance(value := usage.get(name), int)), 0)


def reshaped(event: bytes) -> tuple[bytes, str]:
    """An error that vLLM sends inside of a stream, in the shape of all others, and its code.

    An event of another shape, such as the `response.failed` of a response, passes as it is.
    """
    lines = event.split(b"\n")
    place = next((place for place, line in enumerate(lines) if line.startswith(_DATA)), None)
    try:
        found = json.loads(lines[place][len(_DATA) :]) if place is not None else None
    except ValueError:
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    if place is None or not isinstance(found, dict) or not isinstance(error, dict):
        return event, INTERNAL
    code = error.get("code")
    content = shaped(found, status=code if isinstance(code, int) and code in range(400, 600) else 500)
    kind: JsonObject = {"type": "error"} if found.get("type") == "error" else {}
    lines[place] = _DATA + json.dumps({**kind, **content}, ensure_ascii=False, separators=(",", ":")).encode()
    shown = content["error"]
    assert isinstance(shown, dict)
    return b"\n".join(lines), str(shown["code"])
