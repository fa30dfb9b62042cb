"""Refuses new requests at a replica that is being stopped, so that they are sent again and reach another one."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.layers.http import send_error

CODE = "draining"
MESSAGE = "This replica is being stopped and takes no new requests; try again."


class DrainingLayer:
    """503 for every request that comes too late; those that are inside go on."""

    def __init__(self, app: ASGIApp, *, refusing: Callable[[], bool]) -> None:
        """Wrap an app.

        Args:
            app: What serves a request.
            refusing: Whether new ones are refused.
        """
        self._app = app
        self._refusing = refusing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it and close its connection, for the next one must take another."""
        if scope["type"] != "http" or not self._refusing():
            await self._app(scope, receive, send)
            return
        headers = [(b"connection", b"close")]
        await send_error(send, status=503, message=MESSAGE, code=CODE, retry_after_s=1, headers=headers)
