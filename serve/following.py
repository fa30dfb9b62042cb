"""How a replica follows what changes outside of it: it looks again and again, whatever a look fails of."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

from indexer.errors import GraftworkError


async def keep_looking(
    look: Callable[[], Awaitable[None]], *, interval_s: float, failed: Callable[[str], None]
) -> None:
    """Look until cancelled. What was found before holds while looks fail; nothing ends them.

    Args:
        look: Takes up what has changed.
        interval_s: Seconds before each look.
        failed: Told what a look failed of, once until a look succeeds or fails of something else.
    """
    trouble = ""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await look()
            trouble = ""
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told, and the next look may do
            found = cause_of(error)
            if found != trouble:
                failed(found)
            trouble = found


def cause_of(error: Exception) -> str:
    """What a look failed of: a sentence of ours, the system's own, or of a defect the kind and the place.

    The text of an error that nobody thought of may have parts of what was read, so it is left out.
    """
    if isinstance(error, GraftworkError | OSError):
        return str(error)
    place = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    return f"{type(error).__name__}, a defect, at\n{place}\n"
