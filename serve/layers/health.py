"""GET /healthz: this process answers. GET /readyz: it can serve, and which revision of the registry it serves."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers import draining
from serve.layers.http import send_error, send_json, send_unavailable
from serve.routes import HEALTHZ, READYZ, find_route

# The error's code where the engine lives and something else is missing.
NOT_READY = "not_ready"


class HealthLayer:
    """Answers probes before anything else looks at them; needs no key and tells no names."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        engine_lives: Callable[[], bool],
        unready: Callable[[], str | None],
        stopping: Callable[[], bool],
        revision: Callable[[], int],
    ) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            engine_lives: Whether the engine can work.
            unready: Why this replica is not ready though its engine lives; None where it is.
            stopping: Whether this replica is being stopped.
            revision: Revision of the registry that is served.
        """
        self._app = app
        self._engine_lives = engine_lives
        self._unready = unready
        self._stopping = stopping
        self._revision = revision

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = find_route(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if route is HEALTHZ:
            await send_json(send, status=200, content={"status": "ok"})
        elif route is not READYZ:
            await self._app(scope, receive, send)
        elif not self._engine_lives():
            await send_unavailable(send, "The engine of this replica has stopped and is being replaced; try again.")
        elif self._stopping():
            await send_error(send, status=503, message=draining.MESSAGE, code=draining.CODE, retry_after_s=1)
        elif (why := self._unready()) is not None:
            await send_error(send, status=503, message=why, code=NOT_READY, retry_after_s=1)
        else:
            await send_json(send, status=200, content={"status": "ready", "revision": self._revision()})
