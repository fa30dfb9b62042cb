"""GET /load: how busy the replica that answers is."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.admission.gate import Gate
from serve.layers.http import send_json
from serve.routes import LOAD, find_route


class LoadLayer:
    """Answers with three numbers; everything else goes on."""

    def __init__(self, app: ASGIApp, *, gate: Gate, in_engine: Callable[[], int]) -> None:
        """Wrap an app.

        Args:
            app: What answers every other request.
            gate: Knows who is worked on and who waits.
            in_engine: Requests that the engine has.
        """
        self._app = app
        self._gate = gate
        self._in_engine = in_engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or find_route(scope["path"]) is not LOAD:
            await self._app(scope, receive, send)
            return
        content = {"running": self._gate.running, "waiting": self._gate.waiting, "engine": self._in_engine()}
        await send_json(send, status=200, content=content)
