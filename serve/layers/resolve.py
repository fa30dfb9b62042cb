"""Parses a generation request once and says what its model name stands for."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import InputError, NotFoundError
from serve.catalog import Catalog
from serve.layers.call import Call, JsonObject, put_call
from serve.layers.http import ClientGoneError, header, read_body, send_graftwork_error

ROUTES: dict[str, Literal["chat", "completions"]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
}


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
        except InputError as error:
            await send_graftwork_error(send, error)
            return
        except NotFoundError as error:
            await send_graftwork_error(send, error, param="model")
            return
        call = Call(route=route, body=body, target=target, started=started)
        if target.specialist is not None:
            defaults = target.specialist.generation_defaults.model_dump(exclude_none=True)
            call.body = {**defaults, **body}
        call.clock("resolve_ms", started)
        put_call(scope, call)
        await self._app(scope, receive, send)


def parse_body(raw: bytes) -> JsonObject:
    """Parse a request body.

    Raises:
        InputError: It is not a JSON object.
    """
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise InputError(f"The request body is not JSON ({error}); send a JSON object.") from error
    if not isinstance(body, dict):
        raise InputError(f"The request body is a JSON {type(body).__name__}; send a JSON object.")
    return body


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
