"""Retrieves passages for a specialist with a collection and puts them, with its prompt, before the conversation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import GraftworkError, UnavailableError
from indexer.passages import Passage
from serve.layers.call import Call, get_call
from serve.layers.http import send_unavailable
from serve.prompt import ChatMessage, assemble, question_of
from serve.retriever import Query, Retrieval
from serve.specialist import Specialist

logger = logging.getLogger("graftwork.serve")

# Kept free for the answer where neither the request nor the specialist says how long it may be.
_DEFAULT_NEW_TOKENS = 256


class ContextLayer:
    """Search, assemble, go on. A request without a specialist passes untouched."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        retrieval: Retrieval,
        count_tokens: Callable[[str], int],
        max_model_len: int,
        timeout_s: float,
    ) -> None:
        """Wrap an app.

        Args:
            app: What generates from the assembled messages.
            retrieval: Answers questions with passages.
            count_tokens: Counts a text's tokens with the base model's tokenizer.
            max_model_len: The engine's context length in tokens.
            timeout_s: Seconds after which a retrieval is given up.
        """
        self._app = app
        self._retrieval = retrieval
        self._count_tokens = count_tokens
        self._max_model_len = max_model_len
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        specialist = call.target.specialist if call else None
        messages = _messages(call) if call and specialist else None
        if call is None or specialist is None or messages is None:
            await self._app(scope, receive, send)
            return
        try:
            passages = await self._retrieve(call, specialist, question_of(messages))
        except GraftworkError as error:
            logger.warning("retrieval for %s from %s failed: %s", specialist.name, specialist.collection, error)
            if specialist.retrieval.on_failure == "error":
                what = f"Retrieval for '{specialist.name}' from '{specialist.collection}' failed"
                await send_unavailable(send, f"{what}; try again, the server's log says why.")
                return
            call.retrieval = "failed"
            passages = ()
        since = time.perf_counter()
        assembly = assemble(
            messages,
            prompt=specialist.prompt,
            passages=passages,
            max_context_tokens=specialist.retrieval.max_context_tokens,
            max_model_len=self._max_model_len,
            max_new_tokens=_new_tokens(call),
            count_tokens=self._count_tokens,
        )
        call.passages, call.dropped = assembly.passages, assembly.dropped
        call.body["messages"] = [*assembly.messages]
        call.clock("assembly_ms", since)
        await self._app(scope, receive, send)

    async def _retrieve(self, call: Call, specialist: Specialist, question: str) -> tuple[Passage, ...]:
        if specialist.collection is None or not question:
            return ()
        settings = specialist.retrieval
        query = Query(
            text=question,
            collection=specialist.collection,
            tenant=call.principal.tenant,
            k=settings.k,
            dense_weight=settings.dense_weight,
            section_weight=settings.section_weight,
            rerank=settings.rerank.chosen if settings.rerank else None,
        )
        since = time.perf_counter()
        try:
            result = await asyncio.wait_for(self._retrieval.retrieve(query), timeout=self._timeout_s)
        except TimeoutError as error:
            raise UnavailableError(
                f"Retrieval from '{specialist.collection}' took longer than {self._timeout_s:g} s; try again."
            ) from error
        call.clock("retrieval_ms", since)
        call.timings["embed_ms"], call.timings["search_ms"] = round(result.embed_ms, 3), round(result.search_ms, 3)
        if settings.rerank:
            call.timings["rerank_ms"] = round(result.rerank_ms, 3)
        call.collection, call.generation = result.collection, result.generation
        found = tuple(p for p in result.passages if settings.min_score is None or p.score >= settings.min_score)
        call.retrieval = "found" if found else "none found"
        return found


def _messages(call: Call) -> list[ChatMessage] | None:
    """The request's messages; None where there are none to put a context before (vLLM answers what is wrong)."""
    messages = call.body.get("messages")
    if not call.route.retrieves or not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return None
    return [dict(message) for message in messages if isinstance(message, dict)]


def _new_tokens(call: Call) -> int:
    for field in call.route.limit_fields:
        value = call.body.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return _DEFAULT_NEW_TOKENS
