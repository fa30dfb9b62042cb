"""Proof that the app serves: one real token through every model name, by HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from indexer.errors import UnavailableError

_RETRIED = frozenset({404, 502, 503})
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class FirstToken:
    """One token came: model name and milliseconds of the whole request."""

    model: str
    milliseconds: float


def request_token(url: str, *, model: str, timeout_s: float, retry_s: float = 20.0) -> FirstToken:
    """Asks a model for one token.

    Args:
        url: Root of the server.
        model: Name of a specialist or of the base.
        timeout_s: Limit for one request.
        retry_s: How long 404, 502, 503 and refused connections are asked again: an ingress learns of replicas and
            replicas of specialists a moment after they start.

    Raises:
        UnavailableError: No token; the message says what came instead.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Say one word."}],
        "max_tokens": 1,
        "temperature": 0,
    }
    retry_until = time.monotonic() + retry_s
    while True:
        begun = time.monotonic()
        try:
            answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=timeout_s, trust_env=False)
        except httpx.ConnectError as error:
            problem, again = str(error), True
        except httpx.HTTPError as error:
            problem, again = f"{type(error).__name__} after {time.monotonic() - begun:.0f} s {error}", False
        else:
            if answer.is_success and _completion_tokens(answer) > 0:
                return FirstToken(model, (time.monotonic() - begun) * 1000)
            problem, again = f"HTTP {answer.status_code}: {_message(answer)}", answer.status_code in _RETRIED
        if not again or time.monotonic() >= retry_until:
            raise UnavailableError(f"No token came from {model!r}: {problem}")
        time.sleep(_POLL_S)


def request_tokens(url: str, *, models: Sequence[str], timeout_s: float) -> tuple[FirstToken, ...]:
    """One token from each model, one after the other.

    Raises:
        UnavailableError: As `request_token`, for the first that gives none.
    """
    return tuple(request_token(url, model=model, timeout_s=timeout_s) for model in models)


def _completion_tokens(answer: httpx.Response) -> int:
    try:
        return int(answer.json()["usage"]["completion_tokens"])
    except (ValueError, KeyError, TypeError):
        return 0


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())[:200] or "empty answer"
