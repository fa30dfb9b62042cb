"""GET /healthz: this process answers. GET /readyz: it can serve, and which revision of the registry it serves."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.http import send_json, send_unavailable
from serve.routes import HEALTHZ, READYZ, find_route


class HealthLayer:
    """Answers probes before anything else looks at them; needs no key and tells no names."""

    def __init__(self, app: ASGIApp, *, engine_lives: Callable[[], bool], revision: Callable[[], int]) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            engine_lives: Whether the engine can work.
            revision: Revision of the registry that is served.
        """
        self._app = app
        self._engine_lives = engine_lives
        self._revision = revision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = find_route(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if route is HEALTHZ:
            await send_json(send, status=200, content={"status": "ok"})
        elif route is not READYZ:
            await self._app(scope, receive, send)
        elif self._engine_lives():
            await send_json(send, status=200, content={"status": "ready", "revision": self._revision()})
        else:
            await send_unavailable(send, "The engine of this replica has stopped and is being replaced; try again.")
