"""Starts a request's retrieval, so that it is under way while the request waits for its adapter."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import UnavailableError
from indexer.passages import Passage
from serve.conversation import is_small_talk, search_query
from serve.layers.call import Call, get_call
from serve.overrides import RetrievalPlan
from serve.prompt import ChatMessage, question_of
from serve.retriever import Query, Retrieval
from serve.routes import RETRIEVE
from serve.specialist import RetrievalSettings


class SearchLayer:
    """Puts the search of a specialist's collection into the call as a task, which ends with the request."""

    def __init__(self, app: ASGIApp, *, retrieval: Retrieval, timeout_s: float) -> None:
        """Wrap an app.

        Args:
            app: What uses the passages, or does not.
            retrieval: Answers questions with passages.
            timeout_s: Seconds after which a retrieval is given up, where the specialist does not say.
        """
        self._app = app
        self._retrieval = retrieval
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None or (plan := call.plan) is None or (query := query_of(call, plan)) is None:
            await self._app(scope, receive, send)
            return
        call.search = asyncio.create_task(self._search(call, query, plan.settings))
        try:
            await self._app(scope, receive, send)
        finally:
            call.search.cancel()
            await asyncio.wait({call.search})
            if not call.search.cancelled():
                call.search.exception()  # seen by whoever waited for it; by nobody where the adapter failed first

    async def _search(self, call: Call, query: Query, settings: RetrievalSettings) -> tuple[Passage, ...]:
        since, timeout_s = time.perf_counter(), settings.timeout_s or self._timeout_s
        try:
            result = await asyncio.wait_for(self._retrieval.retrieve(query), timeout=timeout_s)
        except TimeoutError as error:
            raise UnavailableError(
                f"Retrieval from '{query.collection}' took longer than {timeout_s:g} s; try again."
            ) from error
        call.clock("retrieval_ms", since)
        call.timings["embed_ms"], call.timings["search_ms"] = round(result.embed_ms, 3), round(result.search_ms, 3)
        if query.rerank is not None:
            call.timings["rerank_ms"] = round(result.rerank_ms, 3)
        call.collection, call.generation = result.collection, result.generation
        least = settings.min_score
        found = tuple(p for p in result.passages if least is None or p.score >= least)
        call.retrieval = "found" if found else "none found"
        return found


def query_of(call: Call, plan: RetrievalPlan) -> Query | None:
    """What a call asks its specialist's collection; None where there is nothing to ask, or to be asked."""
    specialist = call.target.specialist
    if specialist is None or specialist.collection is None or not plan.wanted:
        return None
    question = _question(call, plan)
    if not question:
        return None
    settings = plan.settings
    return Query(
        text=question,
        collection=specialist.collection,
        tenant=call.principal.tenant,
        k=settings.k,
        dense_weight=settings.dense_weight,
        section_weight=settings.section_weight,
        rerank=settings.rerank.chosen if settings.rerank else None,
        only=settings.filter,
        neighbours=settings.neighbours,
    )


def messages_of(call: Call) -> list[ChatMessage] | None:
    """The request's messages; None where there are none to put a context before (vLLM answers what is wrong)."""
    messages = call.body.get("messages")
    if not call.route.retrieves or not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return None
    return [dict(message) for message in messages if isinstance(message, dict)]


def _question(call: Call, plan: RetrievalPlan) -> str:
    if plan.query is not None:
        return plan.query
    if call.route is RETRIEVE:
        query = call.body.get("query")
        return query.strip() if isinstance(query, str) else ""
    messages = messages_of(call)
    if messages is None:
        return ""
    if plan.settings.skip_small_talk and is_small_talk(question_of(messages)):
        return ""
    return search_query(messages, turns=plan.settings.turns)
