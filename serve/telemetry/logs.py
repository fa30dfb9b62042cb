"""One line per request, through Serve's own log of the replica: never a prompt, a passage, an answer or a key.

With `encoding` JSON, Serve writes each record as one object and adds the request's id and the replica
(JSONFormatter in ray/_common/formatters.py; filters in ray/serve/_private/logging_utils.py).
"""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import JsonValue

from serve.telemetry.record import RequestRecord

NAME = "graftwork.access"
# Serve sets `route` on every record to the app's prefix, so ours has another name.
_ROUTE = "endpoint"


def serve_logging(log_format: Literal["text", "json"]) -> dict[str, JsonValue]:
    """Serve's `logging_config`; its own access log is off, for ours says more and comes once."""
    return {"encoding": log_format.upper(), "enable_access_log": False}


def use_serve_handlers() -> None:
    """Let the logs of this process under `graftwork` go where Serve's go; to be called in a replica."""
    ours, serves = logging.getLogger("graftwork"), logging.getLogger("ray.serve")
    ours.handlers[:] = serves.handlers
    ours.setLevel(logging.INFO)
    ours.propagate = not serves.handlers


def fields_of(request: RequestRecord) -> dict[str, JsonValue]:
    """What the line says of a request; times in milliseconds."""
    return {
        "request_id": request.request_id,
        _ROUTE: request.route,
        "model": request.model,
        "adapter": request.adapter,
        "tenant": request.tenant,
        "key_id": request.key_id,
        "status": request.status,
        "code": request.code or None,
        "ms": round(request.seconds * 1000, 1),
        "first_token_ms": round(request.first_token_s * 1000, 1) if request.first_token_s is not None else None,
        "prompt_tokens": request.prompt_tokens,
        "cached_tokens": request.cached_tokens,
        "completion_tokens": request.completion_tokens,
        "cancelled": request.cancelled,
    }


class AccessLog:
    """Writes the line of a request."""

    def __init__(self, log_format: Literal["text", "json"]) -> None:
        """Take the format that Serve's log has."""
        self._json = log_format == "json"
        self._logger = logging.getLogger(NAME)

    def __call__(self, request: RequestRecord) -> None:
        """Write one line."""
        fields = {name: value for name, value in fields_of(request).items() if value is not None}
        if self._json:
            self._logger.info("request", extra=fields)
        else:
            self._logger.info("request %s", " ".join(f"{name}={value}" for name, value in fields.items()))
