"""What a strategy makes of a document: slices of its text that know where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.types import Block


@dataclass(frozen=True, slots=True)
class Slice:
    """A chunk before it has an identity: `text[start:end]` of its document."""

    start: int
    end: int
    heading_path: tuple[str, ...]
    page: int | None


def slice_of(blocks: Sequence[Block], start: int, end: int) -> Slice:
    """Return the slice of a text that lies in these blocks, the first of which it begins with."""
    body = [block for block in blocks if block.kind != "heading"] or blocks[-1:]
    return Slice(
        start=start,
        end=end,
        heading_path=_common_path([block.heading_path for block in body]),
        page=blocks[0].page,
    )


def _common_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shortest = min(paths, key=len)
    for index, part in enumerate(shortest):
        if any(path[index] != part for path in paths):
            return shortest[:index]
    return shortest
