"""The outermost layer: sees how each request ends and tells it to metrics, log and spans."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.layers.call import early_stages, get_call
from serve.layers.http import header
from serve.routes import find_route
from serve.telemetry.record import (
    CANCELLED_STATUS,
    FAILED_STATUS,
    FIRST_ERROR_STATUS,
    INTERNAL_CODE,
    RequestRecord,
    error_code,
    record_of,
    stream_code,
)
from serve.telemetry.tracing import Tracing

# The errors of ours and of vLLM are below; more of an error's body is not kept.
_LONGEST_ERROR = 65536
_OTHER_ROUTE = "other"
# A client may choose the id of its request; what is no id is not written down.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class TelemetryLayer:
    """Passes everything on unchanged, but for the trace context where spans are made.

    Layers between this one and the one that makes the `Call` must hand the scope on as it is, or the call is not seen.

    Attributes:
        running: Generations that are inside now.
    """

    def __init__(self, app: ASGIApp, *, sink: Callable[[RequestRecord], None], tracing: Tracing | None = None) -> None:
        """Wrap an app.

        Args:
            app: What serves the request.
            sink: Takes the record of each request at its end; called on the loop, so it must not block.
            tracing: Makes spans; None makes none.
        """
        self._app = app
        self._sink = sink
        self._tracing = tracing
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; events of the server's own life and websockets go on unseen."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = find_route(scope["path"])
        name = route.name if route else _OTHER_ROUTE
        generates = route is not None and route.generates
        started, start_ns = time.perf_counter(), time.time_ns()
        span = self._tracing.begin(scope, route=name, start_ns=start_ns) if self._tracing else None
        inner = self._tracing.passed_on(scope, span) if self._tracing and span else scope
        watch = _Watch(receive, send)
        self.running += generates
        try:
            await self._app(inner, watch.receive, watch.send)
        except asyncio.CancelledError:
            watch.gone = True
            raise
        except Exception:
            watch.broken = True
            raise
        finally:
            self.running -= generates
            call = get_call(inner)
            broken = INTERNAL_CODE if watch.broken else ""
            record = record_of(
                call,
                route=name,
                request_id=_request_id(scope),
                status=watch.final_status,
                code=error_code(bytes(watch.error)) or stream_code(call) or broken,
                cancelled=watch.cancelled,
                started=started,
                ended=time.perf_counter(),
                early=early_stages(inner),
            )
            self._sink(record)
            if self._tracing and span:
                self._tracing.end(span, record, start_ns=start_ns)


class _Watch:
    """The two channels of one request, with what passed through them."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.status: int | None = None
        self.error = bytearray()
        self.gone = self.broken = False
        self._finished = False

    @property
    def cancelled(self) -> bool:
        """Whether the client left before the answer was out."""
        return self.gone and not self._finished

    @property
    def final_status(self) -> int:
        """The status that was sent; without one, what became of the request."""
        if self.status is not None:
            return self.status
        return CANCELLED_STATUS if self.gone else FAILED_STATUS

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            if self.status is not None and self.status >= FIRST_ERROR_STATUS and len(self.error) < _LONGEST_ERROR:
                self.error += message.get("body", b"")[:_LONGEST_ERROR]
            if not message.get("more_body"):
                # Once the last bytes are handed over, a disconnect is how every connection ends.
                self._finished = not self.gone
        await self._send(message)


def _request_id(scope: Scope) -> str | None:
    """The id that Serve gave the request, or that its client chose."""
    found = header(scope, b"x-request-id")
    return found if found is not None and _REQUEST_ID.fullmatch(found) else None
