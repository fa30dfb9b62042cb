"""Lets through the routes that the layers behind it answer for, and no other of vLLM's."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.http import send_error

# vLLM mounts dozens of routes: other ways to generate, which would bypass every layer, and ways to change the engine.
# Browsers ask with OPTIONS before they send a request to another origin; vLLM answers that.
ROUTES: Mapping[str, frozenset[str]] = {
    "/v1/chat/completions": frozenset({"POST", "OPTIONS"}),
    "/v1/completions": frozenset({"POST", "OPTIONS"}),
    "/v1/models": frozenset({"GET"}),
    "/tokenize": frozenset({"POST"}),
    "/detokenize": frozenset({"POST"}),
    "/health": frozenset({"GET"}),
    "/healthz": frozenset({"GET"}),
    "/metrics": frozenset({"GET"}),
    "/version": frozenset({"GET"}),
}
# Every path below it is one model's name.
_MODEL = "/v1/models/"


def is_open(method: str, path: str) -> bool:
    """Whether a route is let through."""
    return method in ROUTES.get("/v1/models" if path.startswith(_MODEL) else path, ())


class RouteLayer:
    """The outermost layer; what it does not know is a 404 in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; events of the server's own life go on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000, "reason": ""})
        elif scope["type"] != "http" or is_open(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
        else:
            message = (
                f"There is no {scope['method']} {scope['path']} here; POST /v1/chat/completions and /v1/completions "
                "generate, GET /v1/models lists the models."
            )
            await send_error(send, status=404, message=message, code="unknown_url")
