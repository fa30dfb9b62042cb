"""Whether an instance that is said to be up still answers: its servers, its app, a real token of every model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import httpx

from deploy.local.first_token import FirstToken, NoTokenError, request_tokens
from deploy.local.processes import is_alive
from deploy.local.serve_client import ServeClient
from deploy.local.state import InstanceState
from indexer.errors import GraftworkError, UnavailableError
from serve.layers import draining
from serve.layers.health import NOT_READY

# The engine is warm: what takes longer than this is broken, or busy with the requests of others.
TOKEN_TIMEOUT_S = 30.0
# Replicas read of a new specialist within a second or two.
TOKEN_RETRY_S = 5.0
_HEALTH_TIMEOUT_S = 10.0
_TOO_MANY_REQUESTS = 429


class BrokenInstanceError(UnavailableError):
    """The app is there and its engine is not; only a new start helps."""


def is_running(state: InstanceState) -> bool:
    """Whether all servers live, the API answers and Serve calls the app running; the engine is not touched."""
    if state.phase != "up" or not all(is_alive(process.key) for process in state.processes):
        return False
    try:
        client = ServeClient(state.urls["dashboard"], token_path=Path(state.token_path), timeout_s=_HEALTH_TIMEOUT_S)
        return engine_lives(state.urls["api"]) and client.app().status == "RUNNING"
    except (GraftworkError, OSError):
        return False


def tokens_of_running(
    url: str, *, models: Sequence[str], timeout_s: float = TOKEN_TIMEOUT_S, retry_s: float = TOKEN_RETRY_S
) -> tuple[FirstToken, ...]:
    """One token from each model of a running app.

    Args:
        url: Root of the server.
        models: Names to ask.
        timeout_s: Limit for one request.
        retry_s: How long an answer that may pass is asked again, see `request_token`.

    Raises:
        BrokenInstanceError: No token, and only a new start can help.
        UnavailableError: No token, though the engine lives: it is busy, or it refuses the model.
    """
    try:
        return request_tokens(url, models=models, timeout_s=timeout_s, retry_s=retry_s)
    except NoTokenError as error:
        cause = judge_failure(status=error.status, late=error.late, engine_lives=error.late and engine_lives(url))
        words = str(error).rstrip(". ")
        if cause == "busy":
            raise UnavailableError(
                f"The app at {url} is up but busy: {words}; try again later, or end it with `graftwork down`."
            ) from error
        if cause == "refused":
            raise UnavailableError(
                f"The app at {url} is up but refuses a model: {words}; mend that specialist or take it out with "
                "`graftwork specialists remove`."
            ) from error
        raise BrokenInstanceError(f"{words}.") from error


def judge_failure(*, status: int | None, late: bool, engine_lives: bool) -> Literal["broken", "busy", "refused"]:
    """Why no token came. A new start ends the requests of others, so it must be certain to be needed.

    Args:
        status: Status of the answer; None where none came.
        late: No answer came in time.
        engine_lives: The engine says that it is healthy; looked at where `late`.
    """
    if status == _TOO_MANY_REQUESTS or (late and engine_lives):
        return "busy"
    return "refused" if status is not None and 400 <= status < 500 else "broken"


def engine_lives(url: str) -> bool:
    """Whether the app's replica calls its engine alive; it answers at once however busy that is.

    One that lacks a pinned adapter has an engine that lives: a new start would bring it no other.
    """
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_HEALTH_TIMEOUT_S, trust_env=False)
        return answer.is_success or answer.json()["error"]["code"] in (NOT_READY, draining.CODE)
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return False
