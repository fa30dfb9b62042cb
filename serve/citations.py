"""Citation markers: which passages an answer cites, and which markers point at nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.passages import Passage
from train.markers import MARKER, numbers_of

_MARKER = re.compile(rf"(?P<lead>[ \t]?){MARKER}")


@dataclass(frozen=True, slots=True)
class Citation:
    """One passage the model was given, and whether the answer cites it.

    Attributes:
        n: Number of the passage in the context, from 1.
        chunk_id: Stable identifier of the chunk.
        document: Identifier of its document.
        title: Title of its document.
        heading: Headings above the chunk without the title, joined by ' > '; empty if none.
        uri: Where the document came from.
        page: One-based page of its first character, or None.
        start: First character of the passage in the document's extracted text.
        end: One past its last character there.
        score: Retrieval score.
        cited: Whether the answer carries the marker [n].
        quote: The passage's text where it is cited, else None.
    """

    n: int
    chunk_id: str
    document: str
    title: str
    heading: str
    uri: str
    page: int | None
    start: int
    end: int
    score: float
    cited: bool
    quote: str | None


@dataclass(frozen=True, slots=True)
class MarkedText:
    """An answer's text after its markers were read.

    Attributes:
        text: The text without the markers that point outside the context.
        cited: Numbers of the passages that are cited.
        invalid: How many numbers pointed outside the context.
    """

    text: str
    cited: frozenset[int]
    invalid: int


def read_markers(text: str, *, passages: int) -> MarkedText:
    """Read the markers of an answer and take out those outside 1..passages.

    A list keeps its valid numbers; where none is left, the marker goes with the blank before it.
    """
    cited: set[int] = set()
    invalid = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal invalid
        numbers = numbers_of(match)
        valid = [number for number in numbers if 1 <= number <= passages]
        cited.update(valid)
        invalid += len(numbers) - len(valid)
        if len(valid) == len(numbers):
            return match[0]
        return f"{match['lead']}[{', '.join(map(str, valid))}]" if valid else ""

    cleaned = _MARKER.sub(replace, text)
    return MarkedText(text=cleaned, cited=frozenset(cited), invalid=invalid)


def cite(passages: Sequence[Passage], *, cited: frozenset[int]) -> tuple[Citation, ...]:
    """The answer's sources, in the order of their numbers."""
    return tuple(
        Citation(
            n=number,
            chunk_id=passage.chunk_id,
            document=passage.document_id,
            title=passage.title,
            heading=" > ".join(place for place in passage.places if place != passage.title),
            uri=passage.uri,
            page=passage.page,
            start=passage.start,
            end=passage.end,
            score=round(passage.score, 6),
            cited=number in cited,
            quote=passage.text if number in cited else None,
        )
        for number, passage in enumerate(passages, start=1)
    )
