"""What is known of a request at its end; the one value that metrics, spans and the access log are made of. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve.layers.call import LATE_CODE, STOPPED_CODE, Call, Clocked, Usage

FIRST_ERROR_STATUS = 400
CANCELLED_STATUS = 499  # nginx's status of a client that left before its answer; HTTP has none.
FAILED_STATUS = 500
TOO_MANY = 429
UNAVAILABLE = 503
INTERNAL_CODE = "internal_error"
# Codes of a 503 that no limit gave.
_NOT_SHED = frozenset({"", "unavailable", LATE_CODE, STOPPED_CODE})
# Our codes and OpenAI's are such words; anything else in an answer could be a client's text.
_CODE = re.compile(r"[a-z][a-z_]{0,39}")
_TOTAL, _GENERATE, _PREFILL, _DECODE = "total", "generate", "prefill", "decode"
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
        code: `code` of an error in OpenAI's shape, also of one that ended a stream with status 200; '' of an answer.
        seconds: From the first byte of the request to the last of the answer.
        stages: The stages that were timed. The engine's are 'prefill', its queue counted, and 'decode' of a stream, and
            'generate' of what shows no first token: a whole answer, or a stream that ended before it. (vLLM tells the
            first token of a whole answer in the answer alone, by `enable_per_request_metrics`, where clients would
            see it.)
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

    @property
    def failed(self) -> bool:
        """Whether it ended with an error, be it inside of a stream; what its client left has no error."""
        return not self.cancelled and (self.status >= FIRST_ERROR_STATUS or self.code != "")

    @property
    def server_failed(self) -> bool:
        """Whether the fault was the server's; a stream that began does not end by its client's fault."""
        return self.failed and (self.status >= FAILED_STATUS or self.status < FIRST_ERROR_STATUS)


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
    early: Sequence[Clocked] = (),
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
        early: Stages that were over before there was a call.
    """
    seconds = ended - started
    before = tuple(Stage(each.name, max(0.0, each.begun - started), each.seconds) for each in early)
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
            stages=before,
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
        stages=before + stages_of(call.timings, begun=call.begun, first_token_at=first, started=started),
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
) -> tuple[Stage, ...]:
    """The stages of a request by their start; what the retriever timed lies within the retrieval.

    Args:
        timings: Milliseconds by stage, as `Call.timings` has them.
        begun: `time.perf_counter()` at a stage's start, where it is known.
        first_token_at: The same at the first token.
        started: The same at the request's start.
    """
    stages: list[Stage] = []
    inside = begun.get("retrieval_ms", started)
    for key in (*(f"{name}_ms" for name in _INSIDE_RETRIEVAL), *timings):
        name = key.removesuffix("_ms")
        if key not in timings or name == _TOTAL or any(name == stage.name for stage in stages):
            continue
        seconds = timings[key] / 1000
        start = begun.get(key, started)
        if name in _INSIDE_RETRIEVAL and key not in begun:
            start, inside = inside, inside + seconds
        if name == _GENERATE and first_token_at is not None:
            name, seconds, start = _DECODE, max(0.0, start + seconds - first_token_at), first_token_at
        stages.append(Stage(_NAMES.get(name, name), max(0.0, start - started), seconds))
    return tuple(sorted(stages, key=lambda stage: (stage.start_s, -stage.seconds)))


def shed_reason(status: int, code: str) -> str | None:
    """Why a request was turned away although nothing is wrong with it; None where it was not."""
    if status == TOO_MANY or (status == UNAVAILABLE and code not in _NOT_SHED):
        return code or str(status)
    return None


def error_code(body: bytes) -> str:
    """The `code` of an error in OpenAI's shape; '' where there is none that is a plain word."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = document.get("error") if isinstance(document, dict) else None
    return plain_code(error.get("code") if isinstance(error, dict) else None)


def stream_code(call: Call | None) -> str:
    """The code of the error that ended a stream; '' where it came to its own end."""
    if call is None:
        return ""
    return call.cut_code or plain_code(call.error)


def plain_code(code: object) -> str:
    """A code that is a plain word; '' for anything else."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
