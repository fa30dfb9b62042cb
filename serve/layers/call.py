"""One generation request on its way through the layers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue
from starlette.types import Scope

from indexer.passages import Passage
from serve.catalog import Target
from serve.principal import Principal

_SCOPE_KEY = "graftwork.call"

JsonObject = dict[str, JsonValue]


@dataclass(slots=True)
class Call:
    """A parsed request and what the layers found out about it.

    Attributes:
        route: Which of vLLM's generation routes was called.
        body: The parsed body; layers change it, the last one dumps it.
        target: What the model name stands for.
        adapter: Engine name of the adapter that generates, None for the base.
        fallback: The adapter that should have generated, where the base answers in its place.
        passages: Passages in the context, [1] first.
        collection: Alias that was searched, if any.
        generation: Generation of the collection that answered.
        retrieval: What became of the retrieval.
        timings: Milliseconds per stage.
        begun: `time.perf_counter()` at the start of each stage in `timings` that was clocked.
        started: `time.perf_counter()` when the request arrived.
        principal: Who sends it.
        tokens_used: Tokens it cost.
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens that were generated.
        cached_tokens: Prompt tokens that were in the engine's cache; None where it does not say.
        first_token_at: `time.perf_counter()` at the first token.
        token_gaps: Seconds between the chunks of a stream.
    """

    route: Literal["chat", "completions"]
    body: JsonObject
    target: Target
    adapter: str | None = None
    fallback: str | None = None
    passages: tuple[Passage, ...] = ()
    dropped: int = 0
    collection: str | None = None
    generation: int | None = None
    retrieval: Literal["off", "found", "none found", "failed"] = "off"
    timings: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    principal: Principal | None = None
    tokens_used: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    first_token_at: float | None = None
    token_gaps: list[float] = field(default_factory=list)

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream."""
        return self.body.get("stream") is True

    def clock(self, stage: str, since: float) -> None:
        """Record the milliseconds since `since` (a `time.perf_counter()` value) under a stage."""
        self.begun[stage] = since
        self.timings[stage] = round((time.perf_counter() - since) * 1000, 3)


def put_call(scope: Scope, call: Call) -> None:
    """Attach a call to its request."""
    scope[_SCOPE_KEY] = call


def get_call(scope: Scope) -> Call | None:
    """The request's call, or None where the request is not a generation."""
    call = scope.get(_SCOPE_KEY)
    return call if isinstance(call, Call) else None
