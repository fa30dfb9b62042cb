"""Lets as many requests through to the engine as it works on at once; the others wait for their turn or are refused."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.admission.gate import CrowdedError, Gate
from serve.layers.call import get_call
from serve.layers.http import send_error, send_unavailable


class AdmissionLayer:
    """429 where others are in the way, 503 where nobody could be served."""

    def __init__(self, app: ASGIApp, *, gate: Gate, engine_lives: Callable[[], bool]) -> None:
        """Wrap an app.

        Args:
            app: What serves an admitted request.
            gate: Who may pass.
            engine_lives: Whether the engine can work at all.
        """
        self._app = app
        self._gate = gate
        self._engine_lives = engine_lives

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None:
            await self._app(scope, receive, send)
            return
        if not self._engine_lives():
            await send_unavailable(send, "The engine of this replica has stopped and is being replaced; try again.")
            return
        since = time.perf_counter()
        admitted = False
        try:
            async with self._gate.place(call.principal.tenant):
                call.clock("admission_ms", since)
                admitted = True
                await self._app(scope, receive, send)
        except CrowdedError as error:
            if admitted:
                raise
            message = f"Too many requests wait here already; try again in {error.retry_after_s} s."
            await send_error(send, status=429, message=message, code="overloaded", retry_after_s=error.retry_after_s)
