"""A question that only whoever has the passage before them can understand. Pure; for English."""

from __future__ import annotations

import re

# Words that mean the passage itself, and words that a corpus may well be about: these count only behind words that
# point ("this section"), not behind an article ("the section of the act").
_ITSELF = r"(?:passage|excerpt|snippet|paragraph|extract|text)s?"
_MAYBE = r"(?:document|section|article|chapter|page|table|context|chunk|author|writer)s?"
_POINTING = re.compile(
    rf"\b(?:the|this|that|these|those)\s+(?:\w+\s+)?{_ITSELF}\b(?!\s+of\b)"
    rf"|\b(?:this|these|given|provided|above|preceding|following)\s+{_MAYBE}\b"
    rf"|\b(?:according\s+to|(?:mentioned|described|stated|discussed|listed|shown|provided|given)\s+(?:in|by))"
    rf"\s+the\s+(?:\w+\s+)?(?:{_ITSELF}|{_MAYBE})\b(?!\s+of\b)"
    rf"|\b(?:{_ITSELF}|{_MAYBE})\s+(?:above|below)\b"
    r"|\b(?:mentioned|described|stated|discussed|listed|shown)\s+(?:above|below|here)\b",
    re.IGNORECASE,
)


def pointed_at(question: str) -> str | None:
    """Return the words by which a question points at the passage that it was made from, or None."""
    found = _POINTING.search(question)
    return None if found is None else found[0]
