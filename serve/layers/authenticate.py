"""Interim."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.http import header, send_error
from serve.principal import Principal, put_principal
from serve.routes import find_route


class AuthenticateLayer:
    """Interim."""

    def __init__(self, app: ASGIApp, *, check: Callable[[str], Principal | None] | None, tenant: str) -> None:
        """Interim."""
        self._app = app
        self._check = check
        self._tenant = tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Interim."""
        if scope["type"] == "http":
            route = find_route(scope["path"])
            if self._check is None:
                put_principal(scope, Principal(tenant=self._tenant))
            elif route is None or not route.public:
                token = (header(scope, b"authorization") or "").removeprefix("Bearer ")
                found = self._check(token)
                if found is None:
                    await send_error(send, status=401, message="No.", code="invalid_api_key")
                    return
                put_principal(scope, found)
        await self._app(scope, receive, send)
