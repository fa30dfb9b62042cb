"""The strategy `structure`: along the document's own parts.

A heading starts a new chunk; paragraphs, items, code and tables are added whole while they fit; only a block that is
too long by itself is cut, at line ends, sentences or words. Where the text runs on under the same heading, a chunk
repeats the end of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexer.chunking.measure import LINE_END, SENTENCE_END, WORD_END, Measure
from indexer.chunking.slices import Slice, slice_of
from indexer.types import Block, Document


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block, or a part of one that is too long."""

    start: int
    end: int
    block: Block
    continues: bool


def by_structure(document: Document, *, measure: Measure, overlap_tokens: int) -> list[Slice]:
    """Return the slices of a document, each of at most `measure.max_tokens` tokens."""
    pieces = [piece for block in document.blocks for piece in _pieces(block, measure, overlap_tokens)]
    slices: list[Slice] = []
    for group in _groups(pieces, measure):
        start = group[0].start
        if slices and overlap_tokens and not _starts_section(group[0]):
            start = _overlap_start(slices[-1], group, measure, overlap_tokens)
        slices.append(slice_of([piece.block for piece in group], start, group[-1].end))
    return slices


def _pieces(block: Block, measure: Measure, overlap_tokens: int) -> Iterator[_Piece]:
    """Yield the block, or parts of it that leave room for the overlap in front of them."""
    if measure.fits(block.start, block.end, measure.max_tokens):
        yield _Piece(start=block.start, end=block.end, block=block, continues=False)
        return
    patterns = (LINE_END, WORD_END) if block.kind in ("code", "table") else (SENTENCE_END, LINE_END, WORD_END)
    start = block.start
    while start < block.end:
        limit = measure.max_tokens - (overlap_tokens if start > block.start else 0)
        end = measure.cut(start, block.end, limit, patterns=patterns)
        yield _Piece(start=start, end=end, block=block, continues=start > block.start)
        start = end


def _groups(pieces: Sequence[_Piece], measure: Measure) -> Iterator[list[_Piece]]:
    group: list[_Piece] = []
    for piece in pieces:
        if group and _breaks(group, piece, measure):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _breaks(group: list[_Piece], piece: _Piece, measure: Measure) -> bool:
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


def _overlap_start(before: Slice, group: list[_Piece], measure: Measure, overlap_tokens: int) -> int:
    """Return where a chunk begins when it repeats the end of the one before, without going over the limit."""
    start, end = group[0].start, group[-1].end
    earliest = max(before.start + 1, measure.back(start, overlap_tokens))
    window = measure.text[earliest:start]
    places = [earliest + match.end() for match in SENTENCE_END.finditer(window)]
    places += [earliest + match.end() for match in WORD_END.finditer(window)]
    return next((place for place in places if place < start and measure.fits(place, end, measure.max_tokens)), start)
