"""Puts a specialist's prompt and the passages that were found before the conversation."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import GraftworkError
from serve.layers.call import Call, get_call
from serve.layers.http import send_unavailable
from serve.layers.search import messages_of
from serve.prompt import assemble

logger = logging.getLogger("graftwork.serve")

# Kept free for the answer where neither the request nor the specialist says how long it may be.
_DEFAULT_NEW_TOKENS = 256


class ContextLayer:
    """Waits for the passages, assembles, goes on. A request without a specialist passes untouched."""

    def __init__(self, app: ASGIApp, *, count_tokens: Callable[[str], int], max_model_len: int) -> None:
        """Wrap an app.

        Args:
            app: What generates from the assembled messages.
            count_tokens: Counts a text's tokens with the base model's tokenizer; called in other threads.
            max_model_len: The engine's context length in tokens.
        """
        self._app = app
        self._count_tokens = count_tokens
        self._max_model_len = max_model_len

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None or (specialist := call.target.specialist) is None or (messages := messages_of(call)) is None:
            await self._app(scope, receive, send)
            return
        plan = call.plan
        assert plan is not None
        try:
            passages = await call.search if call.search is not None else ()
        except GraftworkError as error:
            logger.warning("retrieval for %s from %s failed: %s", specialist.name, specialist.collection, error)
            if plan.settings.on_failure == "error":
                what = f"Retrieval for '{specialist.name}' from '{specialist.collection}' failed"
                await send_unavailable(send, f"{what}; try again, the server's log says why.")
                return
            call.retrieval = "failed"
            passages = ()
        if call.retrieval == "none found":
            call.refusal = plan.settings.refusal
        since = time.perf_counter()
        assembly = await asyncio.to_thread(
            assemble,
            messages,
            prompt=specialist.prompt,
            passages=passages,
            max_context_tokens=plan.settings.max_context_tokens,
            max_model_len=self._max_model_len,
            max_new_tokens=_new_tokens(call),
            count_tokens=self._count_tokens,
            besides=json.dumps(tools) if (tools := call.body.get("tools")) else "",
        )
        call.passages, call.dropped = assembly.passages, assembly.dropped
        call.body["messages"] = [*assembly.messages]
        call.clock("assembly_ms", since)
        await self._app(scope, receive, send)


def _new_tokens(call: Call) -> int:
    for field in call.route.limit_fields:
        value = call.body.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return _DEFAULT_NEW_TOKENS
