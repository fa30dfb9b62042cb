"""Adds to an answer what it was made of.

In an answer that comes whole, markers outside the context are removed and counted. A stream passes unchanged; the same
`graftwork` object comes in one event before `[DONE]`, shaped as a chunk without choices so that every client takes it.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from pydantic import JsonValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.citations import MarkedText, cite, read_markers
from serve.layers.call import Call, JsonObject, get_call
from serve.layers.http import is_stream
from serve.layers.sse import StreamWatch

_FALLBACK_HEADER = b"x-graftwork-fallback"


class CitationLayer:
    """Annotates what comes back; calls of the base alone, and routes of other shapes, pass unchanged.

    An answer that is whole was parsed by the engine's layer, right behind this one.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap what generates."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None or not call.route.annotated or call.target.kind == "base":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _Annotator(call, send=send))


class _Annotator:
    """A send channel that annotates one answer; errors pass unchanged."""

    def __init__(self, call: Call, *, send: Send) -> None:
        self._call = call
        self._send = send
        self._start: Message | None = None
        self._watch: StreamWatch | None = None
        self._body: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] != "http.response.body" or (self._start is None and self._watch is None):
            await self._send(message)
        elif self._watch is not None:
            await self._pass_stream(message, self._watch)
        else:
            await self._collect(message)

    async def _begin(self, message: Message) -> None:
        headers = list(message.get("headers", []))
        if self._call.fallback is not None:
            headers.append((_FALLBACK_HEADER, b"base"))
        message = {**message, "headers": headers}
        content_type = next((value for name, value in headers if name.lower() == b"content-type"), b"")
        if message["status"] == 200 and is_stream(message):
            self._watch = StreamWatch(reads_text=self._reads_markers)
            await self._send(message)
        elif message["status"] == 200 and content_type.startswith(b"application/json"):
            self._start = message
        else:
            await self._send(message)

    async def _pass_stream(self, message: Message, watch: StreamWatch) -> None:
        data = watch.feed(message.get("body", b""), final_event=lambda: self._event(watch))
        if not message.get("more_body"):
            data += watch.flush()
        await self._send({**message, "body": data})

    async def _collect(self, message: Message) -> None:
        self._body.append(message.get("body", b""))
        if message.get("more_body"):
            return
        start = self._start
        assert start is not None
        answer = self._call.answer
        if answer is None:
            body = b"".join(self._body)
        else:
            body = json.dumps(self._annotate(answer), ensure_ascii=False).encode()
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await self._send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})

    def _annotate(self, answer: JsonObject) -> JsonObject:
        read: list[MarkedText] = []
        choices = answer.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            holder = choice.get("message", choice) if isinstance(choice, dict) else None
            key = "content" if isinstance(holder, dict) and "content" in holder else "text"
            text = holder.get(key) if isinstance(holder, dict) else None
            if isinstance(holder, dict) and isinstance(text, str) and self._reads_markers:
                marked = read_markers(text, passages=len(self._call.passages))
                holder[key] = marked.text
                read.append(marked)
        answer["model"] = self._call.target.name
        answer["graftwork"] = self._summary(read)
        return answer

    @property
    def _reads_markers(self) -> bool:
        """Without a collection, `[3]` in an answer is the model's own text and stays."""
        return self._call.collection is not None

    def _event(self, watch: StreamWatch) -> bytes:
        read = [read_markers(text, passages=len(self._call.passages)) for text in watch.text.values()]
        envelope = {"object": "chat.completion.chunk", **watch.envelope, "choices": []}
        content = {**envelope, "graftwork": self._summary(read)}
        return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    def _summary(self, read: list[MarkedText]) -> JsonObject:
        call = self._call
        call.clock("total_ms", call.started)
        cited = frozenset[int]().union(*(marked.cited for marked in read))
        citations: list[JsonValue] = [asdict(citation) for citation in cite(call.passages, cited=cited)]
        timings: dict[str, JsonValue] = dict(call.timings)
        return {
            "specialist": call.target.name if call.target.kind == "specialist" else None,
            "adapter": call.adapter,
            "fallback": call.fallback,
            "collection": call.collection,
            "generation": call.generation,
            "retrieval": call.retrieval,
            "citations": citations,
            "dropped_passages": call.dropped,
            "invalid_markers": sum(marked.invalid for marked in read),
            "timings": timings,
        }
