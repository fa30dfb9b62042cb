"""Reads a request that names a model once, and says what the name stands for and whether the sender may call it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import cast

from pydantic import JsonValue
from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import InputError, NotFoundError, UnavailableError
from serve.catalog import Catalog, Target
from serve.layers.call import Call, JsonObject, put_call
from serve.layers.http import (
    BodyTooLargeError,
    ClientGoneError,
    header,
    read_body,
    send_error,
    send_refusal,
    send_unavailable,
)
from serve.overrides import FIELD, RetrievalOverrides, parse_overrides
from serve.principal import Principal, get_principal
from serve.routes import EMBEDDINGS, Route, find_route
from serve.routing.wish import MODEL_HEADER, SESSION_HEADER, Belonging, read_headers

logger = logging.getLogger("graftwork.serve")

# Deeper than any tool's schema, and far from where Python's own parser and writer give up.
MAX_DEPTH = 100


class ResolveLayer:
    """Turns the body of a request into a `Call`; what cannot become one ends here."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        catalog: Callable[[], Catalog],
        know: Callable[[str], Awaitable[None]],
        embedder_name: str,
        max_body_bytes: int,
        timeout_s: float,
    ) -> None:
        """Wrap an app.

        Args:
            app: What serves a resolved request, and every request that names no model.
            catalog: Gives the catalogue of this moment.
            know: Has the manifest of an adapter version read that the catalogue has not; raises UnavailableError.
            embedder_name: Model name of the embedder.
            max_body_bytes: Longest body in bytes.
            timeout_s: Seconds a client has to send it.
        """
        self._app = app
        self._catalog = catalog
        self._know = know
        self._embedder_name = embedder_name
        self._max_body_bytes = max_body_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = find_route(scope["path"]) if scope["type"] == "http" else None
        if route is None or not route.takes_model:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        try:
            if int(header(scope, b"content-length") or 0) > self._max_body_bytes:
                raise BodyTooLargeError
            async with asyncio.timeout(self._timeout_s):
                raw = await read_body(receive, max_bytes=self._max_body_bytes)
            call = await self._call(route, raw, scope, started=started)
        except ClientGoneError:
            return
        except TimeoutError:
            message = f"The request's body was not all here after {self._timeout_s:g} s; send it faster."
            await send_error(send, status=408, message=message, code="request_timeout")
        except BodyTooLargeError:
            message = f"The request's body has more than {self._max_body_bytes} bytes; send less."
            closing = [(b"connection", b"close")]
            await send_error(send, status=413, message=message, code="body_too_large", headers=closing)
        except (InputError, NotFoundError) as error:
            await send_refusal(send, error)
        except UnavailableError as error:
            logger.warning("a model cannot be resolved: %s", error)
            await send_unavailable(send, "The model's adapter cannot be looked up now; try again.", param="model")
        else:
            call.clock("resolve_ms", started)
            put_call(scope, call)
            await self._app(scope, receive, send)

    async def _call(self, route: Route, raw: bytes, scope: Scope, *, started: float) -> Call:
        principal = get_principal(scope)
        body = parse_body(raw)
        check_fields(body, route)
        model = model_of(body)
        headers = {name: header(scope, name.encode()) or "" for name in (MODEL_HEADER, SESSION_HEADER)}
        belonging = read_headers(headers)
        if belonging.model is not None and belonging.model != model:
            raise InputError(
                f"The header {MODEL_HEADER} names '{belonging.model}' and the body '{model}'; send one name, or leave "
                "the header out."
            )
        target = (
            self._embedder(model)
            if route is EMBEDDINGS
            else await self._resolve(model, key=_sticky_key(body, belonging))
        )
        check_allowed(target, principal)
        if route.generates and not route.retrieves and target.specialist and target.specialist.collection:
            raise InputError(
                f"The specialist '{model}' answers from collection '{target.specialist.collection}', which "
                f"POST {route.path} does not ask; call POST /v1/chat/completions."
            )
        body, overrides = without_overrides(body, route, target, principal)
        plan = None
        if target.specialist is not None:
            plan = overrides.plan(target.specialist.retrieval)
            body = with_prompt(with_defaults(body, route, target), route, target.specialist.prompt)
        if route.salted:
            body = salted(body, principal)
        return Call(route=route, body=body, target=target, principal=principal, plan=plan, started=started)

    async def _resolve(self, model: str, *, key: str) -> Target:
        while (ref := (catalog := self._catalog()).unread(model, key=key)) is not None:
            await self._know(ref)
        return catalog.resolve(model, key=key)

    def _embedder(self, model: str) -> Target:
        if model != self._embedder_name:
            raise NotFoundError(f"The model '{model}' makes no embeddings; '{self._embedder_name}' does.")
        return Target(kind="embedder", name=model, specialist=None, adapter=None)


def check_fields(body: JsonObject, route: Route) -> None:
    """Refuse the fields that reach past the layers.

    Raises:
        InputError: One of them is set.
    """
    for name, instead in route.refused_fields.items():
        if body.get(name) not in (None, False):
            raise InputError(f"The field '{name}' is not taken here; {instead}.")


def without_overrides(
    body: JsonObject, route: Route, target: Target, principal: Principal
) -> tuple[JsonObject, RetrievalOverrides]:
    """A body without what is ours in it, and what that changes.

    Raises:
        InputError: It does not fit, or there is no retrieval that it could change.
    """
    if body.get(FIELD) is None:
        return body, RetrievalOverrides()
    if not route.retrieves or target.specialist is None or target.specialist.collection is None:
        raise InputError(
            f"The field '{FIELD}' changes how a collection is asked, which POST {route.path} does not do for "
            f"'{target.name}'; leave it out."
        )
    overrides = parse_overrides(body[FIELD], max_passages=principal.max_passages)
    return {name: value for name, value in body.items() if name != FIELD}, overrides


def check_allowed(target: Target, principal: Principal) -> None:
    """Refuse a model that the sender's key does not name, as if there were none.

    Raises:
        NotFoundError: The key names other models, or not the collection that the specialist answers from.
    """
    collection = target.specialist.collection if target.specialist is not None else None
    if not may_call(principal, name=target.name, collection=collection):
        raise NotFoundError(f"The model '{target.name}' does not exist; GET /v1/models lists those that do.")


def may_call(principal: Principal, *, name: str, collection: str | None) -> bool:
    """Whether a model is the sender's to call."""
    if principal.models is not None and name not in principal.models:
        return False
    return collection is None or principal.collections is None or collection in principal.collections


def with_defaults(body: JsonObject, route: Route, target: Target) -> JsonObject:
    """A body with the specialist's generation defaults where it has no value of its own."""
    assert target.specialist is not None
    defaults = target.specialist.generation_defaults.model_dump(exclude_none=True)
    named = {route.default_fields[name]: value for name, value in defaults.items() if name in route.default_fields}
    if any(name in body for name in route.limit_fields):
        named = {name: value for name, value in named.items() if name not in route.limit_fields}
    return {**named, **body}


def with_prompt(body: JsonObject, route: Route, prompt: str | None) -> JsonObject:
    """A body with the specialist's prompt before the client's own instructions; text stays text, blocks stay blocks."""
    name = route.prompt_field
    if name is None or prompt is None:
        return body
    given = body.get(name)
    if isinstance(given, list):
        return {**body, name: [{"type": "text", "text": prompt}, *given]}
    if given is None or isinstance(given, str):
        return {**body, name: f"{prompt}\n\n{given}" if given else prompt}
    return body


def salted(body: JsonObject, principal: Principal) -> JsonObject:
    """A body whose blocks in the engine's cache are the tenant's own, and within them the client's salt's own.

    Where the app asks for no keys all requests are one tenant's, and the client's salt stays as it is.

    Raises:
        InputError: The client's salt is not a string.
    """
    given = body.get("cache_salt")
    if given is not None and not isinstance(given, str):
        raise InputError(f"The field 'cache_salt' is {json.dumps(given)[:40]}; send a string or leave it out.")
    if principal.key_id is None:
        return body if given is not None else {name: value for name, value in body.items() if name != "cache_salt"}
    salt = hashlib.sha256(json.dumps([principal.tenant, given]).encode()).hexdigest()
    return {**body, "cache_salt": salt}


def parse_body(raw: bytes) -> JsonObject:
    """Parse a request body: one JSON object in UTF-8, so that it can be written and encoded again.

    Raises:
        InputError: It is not a JSON object, nests deeper than `MAX_DEPTH`, or has half of a surrogate pair.
    """
    try:
        text = raw.decode("utf-8-sig")
        body = json.loads(text, parse_constant=_no_number)
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
    return cast("JsonObject", body)


def _no_number(name: str) -> JsonValue:
    raise ValueError(f"{name} is no number of JSON")


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
        raise InputError(f"The field 'model' is {json.dumps(model)[:80]}; name a model that GET /v1/models lists.")
    return model


def _sticky_key(body: JsonObject, belonging: Belonging) -> str:
    user = body.get("user")
    if isinstance(user, str) and user:
        return user
    return belonging.session or uuid.uuid4().hex
