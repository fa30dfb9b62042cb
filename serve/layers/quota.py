"""Holds a request's share of its key's limits for the length of the request."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import InputError, UnavailableError
from serve.layers.call import Call, get_call
from serve.layers.http import send_error, send_refusal, send_unavailable
from serve.quota.estimate import tokens_at_most
from serve.quota.quota import Held, Quota, QuotaExceededError

_A_MINUTE = {"requests": "requests a minute", "tokens": "tokens a minute", "streams": "streams at once"}


class QuotaLayer:
    """429 where a limit is reached; what a request has really cost counts when it has ended, however it ended."""

    def __init__(self, app: ASGIApp, *, quota: Quota, max_model_len: int) -> None:
        """Wrap an app.

        Args:
            app: What serves the request.
            quota: The limits.
            max_model_len: The engine's context length in tokens.
        """
        self._app = app
        self._quota = quota
        self._max_model_len = max_model_len

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        call = get_call(scope)
        if call is None:
            await self._app(scope, receive, send)
            return
        since = time.perf_counter()
        try:
            held = await self._acquire(call)
        except QuotaExceededError as error:
            message = (
                f"The key '{call.principal.key_id}' has {error.allowed} {_A_MINUTE[error.limit]}, and they are taken; "
                f"try again in {error.retry_after_s} s."
            )
            await send_error(
                send, status=429, message=message, code="rate_limit_exceeded", retry_after_s=error.retry_after_s
            )
        except InputError as error:
            await send_refusal(send, error)
        except UnavailableError as error:
            await send_unavailable(send, str(error))
        else:
            call.clock("quota_ms", since)
            try:
                await self._app(scope, receive, send)
            finally:
                if held is not None:
                    await asyncio.shield(held.settle(call.usage.total if call.usage else 0))

    async def _acquire(self, call: Call) -> Held | None:
        tokens = tokens_at_most(call, max_model_len=self._max_model_len)
        return await self._quota.acquire(call.principal, tokens=tokens, stream=call.stream)
