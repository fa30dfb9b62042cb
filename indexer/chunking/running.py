"""The strategies `sentences` and `tokens`: the text runs on over headings, items and tables."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from indexer.chunking.measure import LINE_END, SENTENCE_END, WORD_END, Measure
from indexer.chunking.slices import Slice, slice_of
from indexer.types import Block, Document


def by_sentences(document: Document, *, measure: Measure, overlap_tokens: int) -> list[Slice]:
    """Return slices of whole sentences, as many as fit; each repeats the last whole ones of the slice before.

    A heading, and each line of code or of a table, counts as a sentence. One that is too long is cut at words.
    """
    sentences = [part for block in document.blocks for part in _sentences(block, measure)]
    slices: list[Slice] = []
    first = last = 0
    while True:
        start = sentences[first][0]
        while last + 1 < len(sentences) and measure.fits(start, sentences[last + 1][1], measure.max_tokens):
            last += 1
        slices.append(_slice(document, start, sentences[last][1]))
        if last + 1 == len(sentences):
            return slices
        last, first = last + 1, _repeated(sentences, last + 1, after=first, measure=measure, tokens=overlap_tokens)


def by_tokens(document: Document, *, measure: Measure, overlap_tokens: int) -> list[Slice]:
    """Return windows as long as may be, cut between words; each repeats the last tokens of the one before."""
    start, end = document.blocks[0].start, document.blocks[-1].end
    before = start
    slices: list[Slice] = []
    while True:
        stop = measure.cut(start, end, measure.max_tokens, patterns=(WORD_END,), beyond=before)
        if stop <= before:  # what is repeated leaves no room for anything new
            start = before
            continue
        slices.append(_slice(document, start, stop))
        if stop >= end:
            return slices
        start, before = max(start + 1, _word_start(measure, measure.back(stop, overlap_tokens), stop)), stop


def _sentences(block: Block, measure: Measure) -> Iterator[tuple[int, int]]:
    """Yield where the sentences of a block begin and end, none over the limit."""
    if block.kind == "heading":
        ends = [block.end]
    else:
        pattern = LINE_END if block.kind in ("code", "table") else SENTENCE_END
        found = (match.end() for match in pattern.finditer(measure.text, block.start, block.end))
        ends = [end for end in found if end < block.end] + [block.end]
    start = block.start
    for end in ends:
        while not measure.fits(start, end, measure.max_tokens):
            stop = measure.cut(start, end, measure.max_tokens, patterns=(WORD_END,))
            yield start, stop
            start = stop
        if start < end:
            yield start, end
        start = end


def _repeated(sentences: list[tuple[int, int]], following: int, *, after: int, measure: Measure, tokens: int) -> int:
    """Return the first sentence of the slice that has `following` as its first new one."""
    first = following
    end = sentences[following - 1][1]
    while first - 1 > after and measure.fits(sentences[first - 1][0], end, tokens):
        first -= 1
    while first < following and not measure.fits(sentences[first][0], sentences[following][1], measure.max_tokens):
        first += 1
    return first


def _word_start(measure: Measure, place: int, end: int) -> int:
    """Return where the first word at or behind a place begins; `end` if none does before it."""
    if place == end or measure.text[place - 1].isspace():
        return place
    match = WORD_END.search(measure.text, place, end)
    return match.end() if match else end


def _slice(document: Document, start: int, end: int) -> Slice:
    first = bisect_right(document.blocks, start, key=lambda block: block.end)
    last = bisect_left(document.blocks, end, key=lambda block: block.start)
    return slice_of(document.blocks[first:last], start, end)
