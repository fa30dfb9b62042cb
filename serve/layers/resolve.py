"""Parses a generation request once and says what its model name stands for."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Literal

from pydantic import JsonValue
from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import InputError, NotFoundError
from serve.catalog import Catalog
from serve.layers.call import Call, JsonObject, put_call
from serve.layers.http import ClientGoneError, header, read_body, send_refusal

ROUTES: dict[str, Literal["chat", "completions"]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
}
# Deeper than any tool's schema, and far from where Python's own parser and writer give up.
MAX_DEPTH = 100


class ResolveLayer:
    """Turns the body of a generation request into a `Call`; an unknown model ends here with a 404."""

    def __init__(self, app: ASGIApp, *, catalog: Callable[[], Catalog]) -> None:
        """Wrap an app.

        Args:
            app: What serves a resolved request, and every request that is no generation.
            catalog: Gives the catalogue of this moment.
        """
        self._app = app
        self._catalog = catalog

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = ROUTES.get(scope.get("path", "")) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        try:
            body = parse_body(await read_body(receive))
            model = model_of(body)
            target = self._catalog().resolve(model, key=_sticky_key(body, scope))
        except ClientGoneError:
            return
        except (InputError, NotFoundError) as error:
            await send_refusal(send, error)
            return
        call = Call(route=route, body=body, target=target, started=started)
        if target.specialist is not None:
            defaults = target.specialist.generation_defaults.model_dump(exclude_none=True)
            call.body = {**defaults, **body}
        call.clock("resolve_ms", started)
        put_call(scope, call)
        await self._app(scope, receive, send)


def parse_body(raw: bytes) -> JsonObject:
    """Parse a request body: one JSON object in UTF-8, so that it can be written and encoded again.

    Raises:
        InputError: It is not a JSON object, nests deeper than `MAX_DEPTH`, or has half of a surrogate pair.
    """
    try:
        text = raw.decode("utf-8-sig")
        body = json.loads(text)
    except RecursionError as error:
        raise InputError(_too_deep()) from error
    except ValueError as error:
        raise InputError(f"The request body is not JSON ({error}); send a JSON object.") from error
    if not isinstance(body, dict):
        raise InputError(f"The request body is a JSON {type(body).__name__}; send a JSON object.")
    if text.count("{") + text.count("[") > MAX_DEPTH and is_deeper(body, MAX_DEPTH):
        raise InputError(_too_deep())
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise InputError(
                f"The request body has {half}, half of a surrogate pair, which is no text; send whole characters."
            ) from error
    return body


def is_deeper(value: JsonValue, limit: int) -> bool:
    """Whether JSON nests more than `limit` arrays and objects in each other."""
    if limit < 1:
        return True
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(is_deeper(child, limit - 1) for child in children if isinstance(child, dict | list))


def _too_deep() -> str:
    return f"The request body nests more than {MAX_DEPTH} brackets in each other; send a flatter JSON object."


def model_of(body: JsonObject) -> str:
    """The model name of a parsed body.

    Raises:
        InputError: There is none, or it is not a string.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise InputError(f"The field 'model' is {json.dumps(model)}; name a model that GET /v1/models lists.")
    return model


def _sticky_key(body: JsonObject, scope: Scope) -> str:
    user = body.get("user")
    if isinstance(user, str) and user:
        return user
    return header(scope, b"x-session-id") or uuid.uuid4().hex
