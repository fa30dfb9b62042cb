"""Gives every request an id, takes the client's where it sent a sane one, and returns it."""

from __future__ import annotations

import re
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.layers.http import header

_HEADER = b"x-request-id"
_SANE = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")


class RequestIdLayer:
    """Sets `x-request-id` on the request that goes in and on the response that comes out."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = header(scope, _HEADER)
        request_id = (sent if sent and _SANE.match(sent) else uuid.uuid4().hex).encode()
        others = [(name, value) for name, value in scope["headers"] if name.lower() != _HEADER]
        scope = {**scope, "headers": [*others, (_HEADER, request_id)]}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != _HEADER]
                message = {**message, "headers": [*kept, (_HEADER, request_id)]}
            await send(message)

        await self._app(scope, receive, send_with_id)
