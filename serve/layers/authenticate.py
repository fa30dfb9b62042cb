"""Finds out who sends a request, and lets nobody through without a key but to the routes that say how the app is."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.call import clock_early
from serve.layers.http import header, send_error
from serve.principal import Principal, put_principal
from serve.routes import MESSAGES, find_route

_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
# RFC 6455, 7.4.1: the endpoint refuses what its policy forbids.
_POLICY_VIOLATION = 1008


def sent_token(scope: Scope) -> str | None:
    """The token of a request: the bearer's, or on the route of Anthropic's clients the one in `x-api-key`."""
    scheme, _, token = (header(scope, b"authorization") or "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if scope["path"] == MESSAGES.path:
        return (header(scope, b"x-api-key") or "").strip() or None
    return None


def drop_credentials(scope: Scope) -> None:
    """Take the headers that carry keys out of a scope, so that nothing behind can log them or send them on."""
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name.lower() not in _CREDENTIALS]


class AuthenticateLayer:
    """Puts the principal into the scope; answers 401 where there is none, also for paths that do not exist.

    The scope itself is changed, not a copy: layers before this one find in it what was attached to the request.
    """

    def __init__(self, app: ASGIApp, *, check: Callable[[str], Principal | None] | None, tenant: str) -> None:
        """Wrap an app.

        Args:
            app: What comes behind.
            check: Says whom a token stands for, without blocking; None where no key is asked for.
            tenant: Whose requests all are where no key is asked for.
        """
        self._app = app
        self._check = check
        self._anyone = Principal(tenant=tenant)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; events of the server's own life go on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._check is None:
            put_principal(scope, self._anyone)
        elif not _is_public(scope):
            since = time.perf_counter()
            token = sent_token(scope)
            principal = None if token is None else self._check(token)
            clock_early(scope, "auth", since)
            if principal is None:
                await _refuse(scope, send, missing=token is None)
                return
            put_principal(scope, principal)
        drop_credentials(scope)
        await self._app(scope, receive, send)


def _is_public(scope: Scope) -> bool:
    route = find_route(scope["path"])
    return scope["type"] == "http" and route is not None and route.public


async def _refuse(scope: Scope, send: Send, *, missing: bool) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return
    if missing:
        way = "`x-api-key` or `Authorization: Bearer`" if scope["path"] == MESSAGES.path else "`Authorization: Bearer`"
        message, code = f"The request has no API key; send one in the header {way}.", "missing_api_key"
    else:
        message = "The API key is not valid here: it is wrong, revoked or expired; ask who runs this service for one."
        code = "invalid_api_key"
    await send_error(send, status=401, message=message, code=code, headers=[(b"www-authenticate", b"Bearer")])
