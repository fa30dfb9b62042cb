"""Ends a request when its client has gone, its time is up or the replica is stopped, whatever it waits for."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.layers.call import Call, Usage, get_call
from serve.layers.http import error_body, header, is_stream, send_error
from serve.routes import CHAT, COMPLETIONS
from serve.unattended import Unattended

logger = logging.getLogger("graftwork.serve")

# vLLM ends a generation that does not stream when it hears of a disconnect; a cancellation leaves it running
# (`with_cancellation` in vllm/entrypoints/serve/utils/api_utils.py). So it is told first, and has this long in seconds.
_ENGINE_S = 0.25
# Seconds in which a client can take the last words of a request that is over; one that does not read gets none, and
# holds nothing any longer.
_LAST_WORDS_S = 1.0


class LifetimeLayer:
    """Runs the rest in a task that is cancelled on a disconnect, at the deadline, and before the replica is killed.

    The deadline holds for the whole request, its stream included. A stream ends with an error event and with the mark
    that its client waits for, an answer that has not begun with a 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        deadline_s: float,
        spent: Callable[[Call], Usage | None],
        over: asyncio.Future[None] | None = None,
    ) -> None:
        """Wrap an app.

        Args:
            app: What serves the request.
            deadline_s: Seconds from a request's arrival to its end.
            spent: What a request that is about to be cancelled has cost so far; asked before the engine forgets it.
            over: Done when the replica is about to be killed; None where nobody says so.
        """
        self._app = app
        self._deadline_s = deadline_s
        self._spent = spent
        self._over = over
        self._unattended = Unattended()

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
        ends = {work, watch} if self._over is None else {work, watch, self._over}
        try:
            left = self._deadline_s - (time.perf_counter() - call.started)
            await asyncio.wait(ends, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                stopped = self._over is not None and self._over.done()
                call.cancelled = "disconnect" if watch.done() else "stop" if stopped else "deadline"
        except asyncio.CancelledError:
            call.cancelled = "disconnect"
            raise
        finally:
            if work.done() and call.cancelled is None:
                await _cancel(watch)
            else:
                out.closed = True
                gone.set()
                self._measure(call)
                # Serve may cancel once more while this lasts, and the work must be cancelled all the same.
                await asyncio.shield(self._unattended.start(_end(call, work, watch)))
        if call.cancelled is None:
            work.result()
        elif call.cancelled != "disconnect" and not out.ended:
            out.closed = False
            await self._tell(call, out, request_id=header(scope, b"x-request-id"))

    def _measure(self, call: Call) -> None:
        try:
            call.usage = self._spent(call)
        except Exception:
            logger.exception("what a request has cost is not known; what it told itself counts")

    async def _tell(self, call: Call, out: _Tracked, *, request_id: str | None) -> None:
        code, message = call.cut_code, "The server that answered is being stopped; try again."
        if call.cancelled == "deadline":
            message = f"The request was not done within {self._deadline_s:g} s; ask for less, or try again."
        if out.started and not out.streams:
            raise TimeoutError(message)
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                if not out.started:
                    await send_error(out, status=503, message=message, code=code, retry_after_s=1)
                else:
                    event = error_event(call.route.name, message, code=code, request_id=request_id)
                    data = (b"" if out.at_boundary else b"\n\n") + event
                    await out({"type": "http.response.body", "body": data, "more_body": False})
        except TimeoutError:
            logger.warning("a client whose request was ended did not read the end of its answer")


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


def error_event(route: str, message: str, *, code: str, request_id: str | None) -> bytes:
    """The end of a stream that did not get to its own: an error as the route's clients read it, and their last mark.

    Args:
        route: Name of the route.
        message: What went wrong.
        code: The error's code.
        request_id: The request's id, if it has one.
    """
    content = error_body(status=503, message=message, code=code)
    error = content["error"]
    assert isinstance(error, dict)
    if request_id is not None:
        error["request_id"] = request_id
    if route in (CHAT.name, COMPLETIONS.name):
        return b"data: " + json.dumps(content).encode() + b"\n\ndata: [DONE]\n\n"
    named = {"type": "error", **content} if route == "messages" else {**error, "type": "error"}
    return b"event: error\ndata: " + json.dumps(named).encode() + b"\n\n"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(call: Call, work: asyncio.Future[None], watch: asyncio.Future[None]) -> None:
    """End a request's tasks; its work has heard of it already, and the engine gets the time to end it itself."""
    if call.engine_id is not None:
        await asyncio.wait({work}, timeout=_ENGINE_S)
    await _cancel(work, watch)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    """Cancel tasks and wait for their end; what one of them raises then comes too late for anybody but the log."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            logger.warning("a request that had ended failed: %s", type(result).__name__)
