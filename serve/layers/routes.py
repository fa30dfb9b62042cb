"""Lets through the routes of the table and no other of vLLM's."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.http import send_error
from serve.routes import find_route

_POINTER = "POST /v1/chat/completions generates, GET /v1/models lists the models"


class RouteLayer:
    """A path that is not in the table is 404, a method that the path does not have is 405; both in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; events of the server's own life go on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": ""})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, route = scope["method"], find_route(scope["path"])
        if route is None:
            message = f"There is no {method} {scope['path']} here; {_POINTER}."
            await send_error(send, status=404, message=message, code="unknown_url")
        elif method != route.method:
            message = f"{scope['path']} answers {route.method}, not {method}; {_POINTER}."
            allow = (b"allow", route.method.encode())
            await send_error(send, status=405, message=message, code="method_not_allowed", headers=[allow])
        else:
            await self._app(scope, receive, send)
