"""A server that restarts is waited for."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from indexer.errors import UnavailableError

logger = logging.getLogger(__name__)

# 0.5 + 1 + 2 + 4 + 8 + 8 + 8 s outlast the restart of a server, and end before a lease does (60 s, renewed every 20 s).
MAX_ATTEMPTS = 8
MAX_BACKOFF_S = 8.0
WAITED_S = 30.0  # attempts that take time themselves, such as a flush that is not answered, count too

Result = TypeVar("Result")


def call_with_retry(
    action: Callable[[], Result],
    *,
    description: str,
    before_retry: Callable[[], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Repeat an action while the server does not answer, waiting twice as long each time; returns what it returns.

    Raises:
        UnavailableError: The last attempt failed too.
    """
    failed_at: float | None = None
    for attempt in range(1, MAX_ATTEMPTS):
        try:
            return action()
        except UnavailableError as error:
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > WAITED_S:
                raise
            wait = min(MAX_BACKOFF_S, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.8, 1.2)
            logger.warning("%s: attempt %d of %d failed (%s)", description, attempt, MAX_ATTEMPTS, error)
            before_retry()
            sleep(wait)
    return action()
