"""What is known of a request at its end; the one value that metrics, spans and the access log are made of. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from serve.layers.call import Call, Usage

CANCELLED_STATUS = 499  # nginx's status of a client that left before its answer; HTTP has none.
FAILED_STATUS = 500
TOO_MANY = 429
UNAVAILABLE = 503
# Our codes and OpenAI's are such words; anything else in an answer could be a client's text.
_CODE = re.compile(r"[a-z][a-z_]{0,39}")
# Sums of other stages.
_SUMS = frozenset({"generate", "total"})
_PREFILL, _DECODE, _RETRIEVAL = "prefill", "decode", "retrieval"
_NAMES = {"first_token": _PREFILL}
# Timed by the retriever, one after the other from the retrieval's start.
_INSIDE_RETRIEVAL = ("embed", "search", "rerank")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a request: when it began, in seconds behind the request's start, and how long it took."""

    name: str
    start_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that has ended.

    Attributes:
        request_id: The id that the client got, None where there is none.
        route: Name of the route; 'other' of a path that has none.
        model: Name of a model of the catalogue; None where no known model was named.
        adapter: Adapter that generated.
        tenant: Whose request it was, where that is known.
        key_id: Public name of the key.
        status: HTTP status; 499 where the client left before one was sent.
        code: `code` of an error in OpenAI's shape, '' of an answer.
        seconds: From the first byte of the request to the last of the answer.
        stages: The stages that were timed.
        first_token_s: Seconds from the start to the first token of a stream.
        gaps_s: Seconds between the chunks of a stream.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: Those of them that the engine had in its cache; None where it does not say.
        completion_tokens: Tokens that were generated.
        cancelled: The client left before the answer was out.
    """

    request_id: str | None
    route: str
    model: str | None
    adapter: str | None
    tenant: str | None
    key_id: str | None
    status: int
    code: str
    seconds: float
    stages: tuple[Stage, ...] = ()
    first_token_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int | None = None
    completion_tokens: int = 0
    cancelled: bool = False


def record_of(
    call: Call | None,
    *,
    route: str,
    request_id: str | None,
    status: int,
    code: str,
    cancelled: bool,
    started: float,
    ended: float,
) -> RequestRecord:
    """The record of a request.

    Args:
        call: What the layers found out; None where the request did not get that far.
        route: Name of its route.
        request_id: Its id.
        status: Status of the answer.
        code: Code of the error.
        cancelled: Whether the client left.
        started: `time.perf_counter()` at its start.
        ended: The same at its end.
    """
    seconds = ended - started
    if call is None:
        return RequestRecord(
            request_id=request_id,
            route=route,
            model=None,
            adapter=None,
            tenant=None,
            key_id=None,
            status=status,
            code=code,
            seconds=seconds,
            cancelled=cancelled,
        )
    first, usage = call.first_token, call.usage or Usage()
    return RequestRecord(
        request_id=request_id,
        route=route,
        model=call.target.name,
        adapter=call.adapter,
        tenant=call.principal.tenant,
        key_id=call.principal.key_id,
        status=status,
        code=code,
        seconds=seconds,
        stages=stages_of(call.timings, begun=call.begun, first_token_at=first, started=started, ended=ended),
        first_token_s=first - started if first is not None else None,
        gaps_s=tuple(call.token_gaps),
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        cancelled=cancelled,
    )


def stages_of(
    timings: Mapping[str, float],
    *,
    begun: Mapping[str, float],
    first_token_at: float | None,
    started: float,
    ended: float,
) -> tuple[Stage, ...]:
    """The stages of a request by their start; what the retriever timed lies within the retrieval.

    Args:
        timings: Milliseconds by stage, as `Call.timings` has them.
        begun: `time.perf_counter()` at a stage's start, where it is known.
        first_token_at: The same at the first token.
        started: The same at the request's start.
        ended: The same at its end.
    """
    stages: list[Stage] = []
    inside = begun.get("retrieval_ms", started)
    for key in (*(f"{name}_ms" for name in _INSIDE_RETRIEVAL), *timings):
        name = key.removesuffix("_ms")
        if key not in timings or name in _SUMS or any(_NAMES.get(name, name) == stage.name for stage in stages):
            continue
        seconds = timings[key] / 1000
        start = begun.get(key, started)
        if name in _INSIDE_RETRIEVAL and key not in begun:
            start, inside = inside, inside + seconds
        stages.append(Stage(_NAMES.get(name, name), max(0.0, start - started), seconds))
    if first_token_at is not None:
        if all(stage.name != _PREFILL for stage in stages):
            before = max((stage.start_s + stage.seconds for stage in stages), default=0.0)
            before = min(before, first_token_at - started)
            stages.append(Stage(_PREFILL, before, first_token_at - started - before))
        stages.append(Stage(_DECODE, first_token_at - started, max(0.0, ended - first_token_at)))
    return tuple(sorted(stages, key=lambda stage: (stage.start_s, -stage.seconds)))


def shed_reason(status: int, code: str) -> str | None:
    """Why a request was turned away although nothing is wrong with it; None where it was not."""
    if status == TOO_MANY or (status == UNAVAILABLE and code not in ("", "unavailable")):
        return code or str(status)
    return None


def error_code(body: bytes) -> str:
    """The `code` of an error in OpenAI's shape; '' where there is none that is a plain word."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = document.get("error") if isinstance(document, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
