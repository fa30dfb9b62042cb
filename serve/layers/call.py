"""One request that names a model, on its way through the layers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue
from starlette.types import Scope

from indexer.passages import Passage
from serve.catalog import Target
from serve.overrides import RetrievalPlan
from serve.principal import Principal
from serve.routes import Route

_SCOPE_KEY = "graftwork.call"
# Codes of the errors that requests end with which are cut at their deadline, or before their replica is killed.
LATE_CODE, STOPPED_CODE = "deadline_exceeded", "shutting_down"
_EARLY_KEY = "graftwork.early"

JsonObject = dict[str, JsonValue]


@dataclass(slots=True)
class Usage:
    """Tokens that a request cost.

    Attributes:
        prompt: Tokens of the input, those from the cache counted.
        completion: Tokens of the answer.
        cached: Tokens of the input whose blocks were in the engine's cache; None where the engine does not say.
    """

    prompt: int = 0
    completion: int = 0
    cached: int | None = None

    @property
    def total(self) -> int:
        """All of them."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Clocked:
    """A stage that was over before there was a call.

    Attributes:
        name: The stage.
        begun: `time.perf_counter()` at its start.
        seconds: How long it took.
    """

    name: str
    begun: float
    seconds: float


@dataclass(slots=True)
class Call:
    """A parsed request and what the layers found out about it.

    Attributes:
        route: The route that was called.
        body: The parsed body; layers change it, the last one dumps it.
        target: What the model name stands for.
        principal: Who sends it.
        plan: How it asks the specialist's collection; None where the model is no specialist.
        search: The search of its collection, which raises GraftworkError; None where nothing is searched.
        adapter: Engine name of the adapter that generates, None for the base.
        fallback: The adapter that should have generated, where the base answers in its place.
        passages: Passages in the context, [1] first.
        dropped: Passages that were found and had no place in the context.
        collection: Alias that was searched, if any.
        generation: Generation of the collection that answered.
        retrieval: What became of the retrieval.
        refusal: What is answered in place of the model, as nothing was found; None lets it answer.
        engine_id: Id under which the engine knows the request; unique, whatever id the client gave.
        usage: Tokens that were spent, also by a request that ended early; None until the model was asked.
        answer: The engine's whole answer, parsed; None of a stream, and until it is there.
        cancelled: Why it ended before its answer did.
        error: Code of the error that the engine ended its stream with.
        first_token: `time.perf_counter()` when the first token of a stream came.
        token_gaps: Seconds between the tokens of a stream, in order.
        timings: Milliseconds per stage.
        begun: `time.perf_counter()` at the start of each stage in `timings` that was clocked.
        started: `time.perf_counter()` when the request arrived.
    """

    route: Route
    body: JsonObject
    target: Target
    principal: Principal
    plan: RetrievalPlan | None = None
    search: asyncio.Task[tuple[Passage, ...]] | None = None
    adapter: str | None = None
    fallback: str | None = None
    passages: tuple[Passage, ...] = ()
    dropped: int = 0
    collection: str | None = None
    generation: int | None = None
    retrieval: Literal["off", "found", "none found", "failed"] = "off"
    refusal: str | None = None
    engine_id: str | None = None
    usage: Usage | None = None
    answer: JsonObject | None = None
    cancelled: Literal["disconnect", "deadline", "stop"] | None = None
    error: str | None = None
    first_token: float | None = None
    token_gaps: list[float] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream."""
        return self.body.get("stream") is True

    @property
    def cut_code(self) -> str:
        """Code of the error that the server cut it with; '' where it did not."""
        return {"deadline": LATE_CODE, "stop": STOPPED_CODE}.get(self.cancelled or "", "")

    def clock(self, stage: str, since: float) -> None:
        """Record the milliseconds since `since` (a `time.perf_counter()` value) under a stage."""
        self.begun[stage] = since
        self.timings[stage] = round((time.perf_counter() - since) * 1000, 3)


def put_call(scope: Scope, call: Call) -> None:
    """Attach a call to its request."""
    scope[_SCOPE_KEY] = call


def get_call(scope: Scope) -> Call | None:
    """The request's call, or None where the request names no model."""
    call = scope.get(_SCOPE_KEY)
    return call if isinstance(call, Call) else None


def clock_early(scope: Scope, stage: str, since: float) -> None:
    """Record the time since `since` (a `time.perf_counter()` value) for a stage before there is a call."""
    scope.setdefault(_EARLY_KEY, []).append(Clocked(stage, since, time.perf_counter() - since))


def early_stages(scope: Scope) -> tuple[Clocked, ...]:
    """What `clock_early` recorded for a request."""
    return tuple(scope.get(_EARLY_KEY, ()))
