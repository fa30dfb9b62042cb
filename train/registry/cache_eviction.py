"""Which versions leave a cache that is too large. Pure: nothing is read or deleted here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CachedVersion:
    """One version in a cache.

    Attributes:
        path: Its folder.
        bytes: Length of all its files.
        last_used: When it was last fetched or let go of, in seconds since the epoch.
        held: Whether a process uses it now.
    """

    path: Path
    bytes: int
    last_used: float
    held: bool


def choose_evicted(versions: Iterable[CachedVersion], *, max_bytes: int) -> tuple[CachedVersion, ...]:
    """Choose the least recently used versions whose going brings a cache down to `max_bytes`, in that order.

    One that is held never goes, so what is left may be larger.
    """
    found = tuple(versions)
    over = sum(version.bytes for version in found) - max_bytes
    evicted: list[CachedVersion] = []
    for version in sorted(found, key=lambda version: (version.last_used, version.path)):
        if over <= 0:
            break
        if not version.held:
            evicted.append(version)
            over -= version.bytes
    return tuple(evicted)
