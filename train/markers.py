"""Citation markers of an answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# `[3]`, and the lists that models write: `[1, 2]`, `[1,2]`, `[1; 2]`.
MARKER = r"\[(?P<numbers>\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]"
_MARKER = re.compile(rf"[ \t]*{MARKER}")


def numbers_of(match: re.Match[str]) -> list[int]:
    """Return the numbers of a match of `MARKER`."""
    return [int(number) for number in re.split(r"\s*[,;]\s*", match["numbers"])]


def cited(text: str) -> tuple[int, ...]:
    """Return the numbers that a text cites, each once, in the order in which they come."""
    return tuple(dict.fromkeys(number for match in _MARKER.finditer(text) for number in numbers_of(match)))


def renumbered(text: str, numbers: Mapping[int, int]) -> str:
    """Return a text with its passages numbered anew; a number that has no new one goes."""

    def replace(match: re.Match[str]) -> str:
        kept = dict.fromkeys(numbers[number] for number in numbers_of(match) if number in numbers)
        blank = match[0][: len(match[0]) - len(match[0].lstrip())]
        return blank + "".join(f"[{number}]" for number in kept) if kept else ""

    return _MARKER.sub(replace, text).strip()


def without_markers(text: str) -> str:
    """Return a text without markers and without the blanks before them."""
    return renumbered(text, {})
