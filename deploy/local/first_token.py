"""Proof that the app serves: one real token through every model name, by HTTP."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from deploy.local.api import key_header
from indexer.errors import UnavailableError

_RETRIED = frozenset({404, 502, 503})
_POLL_S = 0.5
RETRY_S = 20.0


@dataclass(frozen=True, slots=True)
class FirstToken:
    """One token came: model name and milliseconds of the whole request."""

    model: str
    milliseconds: float


class NoTokenError(UnavailableError):
    """A model gave no token.

    Attributes:
        status: Status of the HTTP answer; None where none came.
        late: The time was over before an answer came.
    """

    def __init__(self, model: str, problem: str, *, status: int | None = None, late: bool = False) -> None:
        """Makes the sentence."""
        super().__init__(f"No token came from {model!r}: {problem}")
        self.status = status
        self.late = late


def request_token(url: str, *, model: str, timeout_s: float, retry_s: float = RETRY_S) -> FirstToken:
    """Asks a model for one token.

    Args:
        url: Root of the server.
        model: Name of a specialist or of the base.
        timeout_s: Limit for one request.
        retry_s: How long 404, 502, 503 and refused connections are asked again: an ingress learns of replicas and
            replicas of specialists a moment after they start.

    Raises:
        NoTokenError: No token; the message says what came instead.
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
        status: int | None = None
        late = False
        try:
            answer = httpx.post(
                f"{url}/v1/chat/completions", json=body, headers=key_header(), timeout=timeout_s, trust_env=False
            )
        except httpx.ConnectError as error:
            problem, again = str(error), True
        except httpx.HTTPError as error:
            problem, again = f"{type(error).__name__} after {time.monotonic() - begun:.0f} s {error}", False
            late = isinstance(error, httpx.TimeoutException)
        else:
            if answer.is_success and _completion_tokens(answer) > 0:
                return FirstToken(model, (time.monotonic() - begun) * 1000)
            status = answer.status_code
            problem, again = f"HTTP {status}: {_message(answer)}", status in _RETRIED
        if not again or time.monotonic() >= retry_until:
            raise NoTokenError(model, problem, status=status, late=late)
        time.sleep(_POLL_S)


def request_tokens(
    url: str, *, models: Sequence[str], timeout_s: float, retry_s: float = RETRY_S
) -> tuple[FirstToken, ...]:
    """One token from each model, one after the other.

    Raises:
        NoTokenError: As `request_token`, for the first that gives none.
    """
    return tuple(request_token(url, model=model, timeout_s=timeout_s, retry_s=retry_s) for model in models)


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
