"""Cut a document into chunks that fit the embedder, along its structure.

A chunk is a contiguous slice of the document's text. A heading starts a new one; paragraphs, items, code and tables are
added whole while they fit; only a block that is too long by itself is cut, at line ends, sentences or words. Where the
text runs on under the same heading, a chunk repeats the end of the one before.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexer.chunking.tokens import TokenCounter
from indexer.types import Block, Document

CHUNKER_VERSION = 1
CHARS_PER_TOKEN = 16  # a tokenizer may read a 10,000-letter word as one token; English has 4 to 5 letters per token
PREFIX_MIN_TOKENS = 8  # with less room a prefix says nothing

_SENTENCE_END = re.compile(r"[.!?…。！？][\"')\]”’»]*\s+|\n\s*\n")
_LINE_END = re.compile(r"\n")
_WORD_END = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class ChunkerSettings:
    """How documents are cut.

    Attributes:
        chunk_tokens: Most tokens of text per chunk.
        overlap_tokens: Tokens repeated from the chunk before, at most.
        prefix_tokens: Most tokens of title and headings put before the text when it is embedded; 0 for none.
    """

    chunk_tokens: int
    overlap_tokens: int
    prefix_tokens: int

    @property
    def identity(self) -> str:
        """Text that changes when the chunks would."""
        return f"v{CHUNKER_VERSION} {self.chunk_tokens}/{self.overlap_tokens}/{self.prefix_tokens}"


@dataclass(frozen=True, slots=True)
class Slice:
    """A chunk before it has an identity: `text[start:end]` of its document."""

    start: int
    end: int
    heading_path: tuple[str, ...]
    page: int | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block, or a part of one that is too long."""

    start: int
    end: int
    block: Block
    continues: bool


def cut(document: Document, *, tokens: TokenCounter, settings: ChunkerSettings) -> list[Slice]:
    """Return the chunks of a document, in order.

    No slice holds more than `chunk_tokens` tokens; together they hold all text but blank space between blocks.
    """
    measure = _Measure(document.text, tokens=tokens, max_tokens=settings.chunk_tokens)
    pieces = [piece for block in document.blocks for piece in _pieces(block, measure, settings.overlap_tokens)]
    slices: list[Slice] = []
    for group in _groups(pieces, measure):
        start = group[0].start
        if slices and settings.overlap_tokens and not _starts_section(group[0]):
            start = _overlap_start(slices[-1], group, measure, settings.overlap_tokens)
        slices.append(_slice(group, start))
    return slices


def search_text(
    text: str, *, title: str, heading_path: tuple[str, ...], tokens: TokenCounter, prefix_tokens: int
) -> str:
    """Return the text with its title and headings in front, within `prefix_tokens`.

    Where they do not all fit, the outermost headings go first, then the title; the innermost heading says most.
    """
    parts = [title, *heading_path]
    unique = [part for index, part in enumerate(parts) if part and part not in parts[:index]]
    if prefix_tokens < PREFIX_MIN_TOKENS or not unique:
        return text
    candidates = [unique, *([unique[0], *unique[skip:]] for skip in range(2, len(unique))), unique[-1:]]
    for kept in candidates:
        prefix = " > ".join(kept)
        if tokens.count(prefix) <= prefix_tokens:
            return f"{prefix}\n\n{text}"
    spans = tokens.spans(unique[-1])[:prefix_tokens]
    return f"{unique[-1][: spans[-1][1]]}\n\n{text}"


class _Measure:
    """Token counts of slices of one text, from one pass of the tokenizer."""

    def __init__(self, text: str, *, tokens: TokenCounter, max_tokens: int) -> None:
        self.text = text
        self.max_tokens = max_tokens
        self._tokens = tokens
        spans = tokens.spans(text)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def fits(self, start: int, end: int, limit: int) -> bool:
        """Tell whether the slice holds at most `limit` tokens, counted on the slice itself unless it clearly does."""
        if end - start > self.max_tokens * CHARS_PER_TOKEN:
            return False
        estimate = self.estimate(start, end)
        if estimate < limit // 2 and self._between_words(start) and self._between_words(end):
            return True
        if estimate > limit * 2:
            return False
        return self._tokens.count(self.text[start:end]) <= limit

    def estimate(self, start: int, end: int) -> int:
        """Return the number of the whole text's tokens that touch the slice."""
        return max(0, bisect_left(self._starts, end) - bisect_right(self._ends, start))

    def reach(self, start: int, end: int, limit: int) -> int:
        """Return the furthest place up to `end` that a slice of `limit` tokens may go, at least one character on."""
        last = bisect_right(self._ends, start) + limit
        place = min(end, start + self.max_tokens * CHARS_PER_TOKEN)
        if last < len(self._starts):
            place = min(place, max(self._starts[last], start + 1))
        while place > start + 1 and not self.fits(start, place, limit):
            place = start + max(1, (place - start) * 7 // 8)
        return place

    def _between_words(self, place: int) -> bool:
        if place in (0, len(self.text)):
            return True
        return self.text[place - 1].isspace() or self.text[place].isspace()

    def back(self, place: int, count: int) -> int:
        """Return where the last `count` tokens before `place` begin."""
        last = bisect_left(self._starts, place)
        first = max(0, last - count)
        return self._starts[first] if first < last else place


def _pieces(block: Block, measure: _Measure, overlap_tokens: int) -> Iterator[_Piece]:
    """Yield the block, or parts of it that leave room for the overlap in front of them."""
    if measure.fits(block.start, block.end, measure.max_tokens):
        yield _Piece(start=block.start, end=block.end, block=block, continues=False)
        return
    lines_first = block.kind in ("code", "table")
    start = block.start
    while start < block.end:
        limit = measure.max_tokens - (overlap_tokens if start > block.start else 0)
        reach = measure.reach(start, block.end, limit)
        end = reach if reach >= block.end else _boundary(measure.text, start, reach, lines_first=lines_first)
        yield _Piece(start=start, end=end, block=block, continues=start > block.start)
        start = end


def _boundary(text: str, start: int, reach: int, *, lines_first: bool) -> int:
    """Return the best place to cut in the second half of `start` to `reach`; the cut falls after the separator."""
    floor = start + (reach - start) // 2
    patterns = (_LINE_END, _WORD_END) if lines_first else (_SENTENCE_END, _LINE_END, _WORD_END)
    for pattern in patterns:
        ends = [match.end() for match in pattern.finditer(text, start, reach) if match.end() > floor]
        if ends:
            return ends[-1]
    return reach


def _groups(pieces: Sequence[_Piece], measure: _Measure) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    for piece in pieces:
        if group and _breaks(group, piece, measure):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _breaks(group: list[_Piece], piece: _Piece, measure: _Measure) -> bool:
    if not measure.fits(group[0].start, piece.end, measure.max_tokens):
        return True
    only_headings = all(member.block.kind == "heading" for member in group)
    if piece.block.kind == "heading":
        return not only_headings
    if piece.block.kind == "item" and not piece.continues:
        return measure.estimate(group[0].start, group[-1].end) > measure.max_tokens // 2
    return False


def _starts_section(piece: _Piece) -> bool:
    return piece.block.kind == "heading" and not piece.continues


def _overlap_start(before: Slice, group: list[_Piece], measure: _Measure, overlap_tokens: int) -> int:
    """Return where a chunk begins when it repeats the end of the one before, without going over the limit."""
    start, end = group[0].start, group[-1].end
    earliest = max(before.start + 1, measure.back(start, overlap_tokens))
    window = measure.text[earliest:start]
    places = [earliest + match.end() for match in _SENTENCE_END.finditer(window)]
    places += [earliest + match.end() for match in _WORD_END.finditer(window)]
    return next((place for place in places if place < start and measure.fits(place, end, measure.max_tokens)), start)


def _slice(group: list[_Piece], start: int) -> Slice:
    body = [piece for piece in group if piece.block.kind != "heading"] or group[-1:]
    return Slice(
        start=start,
        end=group[-1].end,
        heading_path=_common_path([piece.block.heading_path for piece in body]),
        page=group[0].block.page,
    )


def _common_path(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    shortest = min(paths, key=len)
    for index, part in enumerate(shortest):
        if any(path[index] != part for path in paths):
            return shortest[:index]
    return shortest
