"""Holds a request's share of its key's limits for the length of the request."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Receive, Scope, Send

from indexer.errors import InputError, UnavailableError
from serve.layers.call import Call, get_call
from serve.layers.http import send_error, send_refusal, send_unavailable
from serve.quota.estimate import Estimate, estimate_tokens
from serve.quota.quota import Quota, QuotaExceededError

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
        share = self._share(call)
        try:
            held = await self._quota.acquire(call.principal, tokens=share.total, stream=call.stream)
        except QuotaExceededError as error:
            message = (
                f"The key '{call.principal.key_id}' has {error.allowed} {_A_MINUTE[error.limit]}, and they are taken; "
                f"try again in {error.retry_after_s} s."
            )
            if error.limit == "tokens" and not share.named:
                name = call.route.limit_fields[0]
                message += f" As it has no `{name}`, the request would need {share.total} of them; name a low one."
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
                    await held.settle(call.usage.total if call.usage else 0)

    def _share(self, call: Call) -> Estimate:
        """What to reserve; an answer without a limit gets the one that the key's tokens of a minute leave."""
        estimate = estimate_tokens(call, max_model_len=self._max_model_len)
        limit = call.principal.limits.tokens_per_minute
        bounded = estimate if limit is None else estimate.within(limit)
        if bounded != estimate:
            call.body = {**call.body, call.route.limit_fields[0]: bounded.answer}
        return bounded
