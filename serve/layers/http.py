"""Reading requests and writing OpenAI-shaped answers, for layers that speak plain ASGI."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pydantic import JsonValue
from starlette.types import Message, Receive, Scope, Send

from indexer.errors import InputError, NotFoundError

# First status of what is the server's fault; OpenAI's error types tell the two sides apart.
_SERVER_FAULT = 500
# OpenAI's types for statuses that have one of their own (its API reference, "Error codes").
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ClientGoneError(Exception):
    """The client went away before its request was read."""


class BodyTooLargeError(Exception):
    """The request's body is longer than it may be."""


async def read_body(receive: Receive, *, max_bytes: int | None = None) -> bytes:
    """Read a whole request body.

    Raises:
        ClientGoneError: The client disconnected first.
        BodyTooLargeError: It has more than `max_bytes`; the rest is not read.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if max_bytes is not None and size > max_bytes:
            raise BodyTooLargeError
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """A receive channel that gives a body once and then what the client does, so that a disconnect is still seen."""
    given = False

    async def receive_replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_replayed


def with_content_length(scope: Scope, length: int) -> Scope:
    """The scope with the headers that describe a body of `length` bytes."""
    dropped = (b"content-length", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def is_stream(start: Message) -> bool:
    """Whether an answer is a stream of events, by its `http.response.start`."""
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in start.get("headers", [])
    )


def with_header(scope: Scope, name: bytes, value: bytes) -> Scope:
    """The scope with one request header, by its lower-case name, in place of all it had of that name."""
    headers = [(key, old) for key, old in scope["headers"] if key.lower() != name]
    return {**scope, "headers": [*headers, (name, value)]}


def header(scope: Scope, name: bytes) -> str | None:
    """The first value of a request header, by its lower-case name."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            return str(value.decode("latin-1"))
    return None


async def send_json(
    send: Send, *, status: int, content: Mapping[str, JsonValue], headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send one JSON response."""
    body = json.dumps(content, separators=(",", ":")).encode()
    await send_json_bytes(send, status=status, body=body, headers=headers)


async def send_json_bytes(send: Send, *, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send one response whose JSON is written already."""
    described = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*described, *headers]})
    await send({"type": "http.response.body", "body": body})


def error_body(*, status: int, message: str, code: str, param: str | None = None) -> dict[str, JsonValue]:
    """One error in OpenAI's shape."""
    kind = _KINDS.get(status, "invalid_request_error" if status < _SERVER_FAULT else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def send_error(
    send: Send,
    *,
    status: int,
    message: str,
    code: str,
    param: str | None = None,
    retry_after_s: int | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send one error in OpenAI's shape."""
    waiting = [(b"retry-after", str(retry_after_s).encode())] if retry_after_s is not None else []
    content = error_body(status=status, message=message, code=code, param=param)
    await send_json(send, status=status, content=content, headers=[*waiting, *headers])


async def send_refusal(send: Send, error: InputError | NotFoundError) -> None:
    """Send what is wrong with a request: 404 for a model that does not exist, else 400."""
    if isinstance(error, NotFoundError):
        await send_error(send, status=404, message=str(error), code="model_not_found", param="model")
    else:
        await send_error(send, status=400, message=str(error), code="invalid_request")


async def send_unavailable(send: Send, message: str, *, param: str | None = None) -> None:
    """Send a 503: the request is right, something it needs is not there. The message names no address and no path."""
    await send_error(send, status=503, message=message, code="unavailable", param=param, retry_after_s=1)
