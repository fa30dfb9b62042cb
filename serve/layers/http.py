"""Reading requests and writing OpenAI-shaped answers, for layers that speak plain ASGI."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pydantic import JsonValue
from starlette.types import Message, Receive, Scope, Send

from indexer.errors import InputError, NotFoundError

# First status of what is the server's fault; OpenAI's error types tell the two sides apart.
_SERVER_FAULT = 500


class ClientGoneError(Exception):
    """The client went away before its request was read."""


async def read_body(receive: Receive) -> bytes:
    """Read a whole request body.

    Raises:
        ClientGoneError: The client disconnected first.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
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
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, *, status: int, message: str, code: str, param: str | None = None, retry_after_s: int | None = None
) -> None:
    """Send one error in OpenAI's shape."""
    headers = [(b"retry-after", str(retry_after_s).encode())] if retry_after_s is not None else []
    error: JsonValue = {
        "message": message,
        "type": "invalid_request_error" if status < _SERVER_FAULT else "server_error",
        "param": param,
        "code": code,
    }
    await send_json(send, status=status, content={"error": error}, headers=headers)


async def send_refusal(send: Send, error: InputError | NotFoundError) -> None:
    """Send what is wrong with a request: 404 for a model that does not exist, else 400."""
    if isinstance(error, NotFoundError):
        await send_error(send, status=404, message=str(error), code="model_not_found", param="model")
    else:
        await send_error(send, status=400, message=str(error), code="invalid_request")


async def send_unavailable(send: Send, message: str, *, param: str | None = None) -> None:
    """Send a 503: the request is right, something it needs is not there. The message names no address and no path."""
    await send_error(send, status=503, message=message, code="unavailable", param=param, retry_after_s=1)
