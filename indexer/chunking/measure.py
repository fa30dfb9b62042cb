"""How many tokens a slice of a text holds, and where a slice that may hold so many is best cut."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

from indexer.chunking.tokens import TokenCounter

CHARS_PER_TOKEN = 16  # a tokenizer may read a 10,000-letter word as one token; English has 4 to 5 letters per token
# What every tokenizer takes for a blank; of other white space some remove what others split at.
_BLANKS = " \t\r\n"

SENTENCE_END = re.compile(r"[.!?…。！？][\"')\]”’»]*\s+|\n\s*\n")
LINE_END = re.compile(r"\n")
WORD_END = re.compile(r"\s+")


class Measure:
    """Token counts of slices of one text, from one pass of the tokenizer."""

    def __init__(self, text: str, *, tokens: TokenCounter, max_tokens: int) -> None:
        self.text = text
        self.max_tokens = max_tokens
        self._tokens = tokens
        spans = tokens.spans(text)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def fits(self, start: int, end: int, limit: int) -> bool:
        """Tell whether the slice holds at most `limit` tokens, counted on the slice itself unless that is clear."""
        if end - start > self.max_tokens * CHARS_PER_TOKEN:
            return False
        estimate = self.estimate(start, end)
        if self._between_words(start) and self._between_words(end):
            if estimate + self._tokens.edge_tokens <= limit:
                return True
            if estimate > limit + self._tokens.edge_tokens:
                return False
        elif estimate > limit * 2:
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
        return self.text[place - 1] in _BLANKS or self.text[place] in _BLANKS

    def cut(self, start: int, end: int, limit: int, *, patterns: tuple[re.Pattern[str], ...], beyond: int = 0) -> int:
        """Return where to cut a slice that may hold `limit` tokens: behind the last match of the first that matches.

        Only matches in the second half and behind `beyond` count; without any the slice is as long as it may be.
        """
        reach = self.reach(start, end, limit)
        if reach >= end:
            return end
        floor = max(beyond, start + (reach - start) // 2)
        for pattern in patterns:
            ends = [match.end() for match in pattern.finditer(self.text, start, reach) if match.end() > floor]
            if ends:
                return ends[-1]
        return reach

    def back(self, place: int, count: int) -> int:
        """Return where the last `count` tokens before `place` begin."""
        last = bisect_left(self._starts, place)
        first = max(0, last - count)
        return self._starts[first] if first < last else place
