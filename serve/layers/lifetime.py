"""Ends a request when its client has gone or its time is up, whatever it waits for."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.layers.call import Call, Usage, get_call
from serve.layers.http import error_body, is_stream, send_error
from serve.routes import CHAT, COMPLETIONS

logger = logging.getLogger("graftwork.serve")

_CODE = "deadline_exceeded"
# vLLM ends a generation that does not stream when it hears of a disconnect; a cancellation leaves it running
# (`with_cancellation` in vllm/entrypoints/serve/utils/api_utils.py). So it is told first, and has this long in seconds.
_ENGINE_S = 0.25


class LifetimeLayer:
    """Runs the rest in a task that is cancelled on a disconnect and at the deadline.

    The deadline holds for the whole request, its stream included. A stream ends with an error event and with the mark
    that its client waits for, an answer that has not begun with a 503.
    """

    def __init__(self, app: ASGIApp, *, deadline_s: float, spent: Callable[[Call], Usage | None]) -> None:
        """Wrap an app.

        Args:
            app: What serves the request.
            deadline_s: Seconds from a request's arrival to its end.
            spent: What a request that is about to be cancelled has cost so far; asked before the engine forgets it.
        """
        self._app = app
        self._deadline_s = deadline_s
        self._spent = spent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request whose body is read."""
        call = get_call(scope)
        if call is None:
            await self._app(scope, receive, send)
            return
        gone, out = asyncio.Event(), _Tracked(send)

        async def receive_gone() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        work = asyncio.ensure_future(self._app(scope, receive_gone, out))
        watch = asyncio.create_task(_until_gone(receive))
        try:
            left = self._deadline_s - (time.perf_counter() - call.started)
            await asyncio.wait({work, watch}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                call.cancelled = "disconnect" if watch.done() else "deadline"
        except asyncio.CancelledError:
            call.cancelled = "disconnect"
            raise
        finally:
            if call.cancelled is not None:
                call.usage = self._spent(call)
                out.closed = True
                gone.set()
                if call.engine_id is not None:
                    await asyncio.wait({work}, timeout=_ENGINE_S)
            await _cancel(*(task for task in (work, watch) if not task.done()))
        if call.cancelled is None:
            work.result()
        elif call.cancelled == "deadline" and not out.ended:
            out.closed = False
            await self._tell(call, out)

    async def _tell(self, call: Call, out: _Tracked) -> None:
        message = f"The request was not done within {self._deadline_s:g} s; ask for less, or try again."
        if not out.started:
            await send_error(out, status=503, message=message, code=_CODE, retry_after_s=1)
        elif out.streams:
            event = error_event(call.route.name, message)
            data = (b"" if out.at_boundary else b"\n\n") + event
            await out({"type": "http.response.body", "body": data, "more_body": False})
        else:
            raise TimeoutError(message)


class _Tracked:
    """A send channel that knows how far the answer is, and can be closed to what comes too late."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = self.ended = self.streams = self.closed = False
        self.at_boundary = True

    async def __call__(self, message: Message) -> None:
        if self.closed:
            return
        if message["type"] == "http.response.start":
            self.started = True
            self.streams = is_stream(message)
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            self.at_boundary = body.endswith(b"\n\n") if body else self.at_boundary
            self.ended = not message.get("more_body")
        await self._send(message)


def error_event(route: str, message: str) -> bytes:
    """The end of a stream that did not get to its own: an error as the route's clients read it, and their last mark.

    Args:
        route: Name of the route.
        message: What went wrong.
    """
    content = error_body(status=503, message=message, code=_CODE)
    if route in (CHAT.name, COMPLETIONS.name):
        return b"data: " + json.dumps(content).encode() + b"\n\ndata: [DONE]\n\n"
    error = content["error"]
    assert isinstance(error, dict)
    named = {"type": "error", **content} if route == "messages" else {**error, "type": "error"}
    return b"event: error\ndata: " + json.dumps(named).encode() + b"\n\n"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    """Cancel tasks and wait for their end; what one of them raises then comes too late for anybody but the log."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            logger.warning("a request that had ended failed: %s", type(result).__name__)
