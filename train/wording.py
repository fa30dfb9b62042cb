"""Words that texts are compared by, and how a refusal is told; exact, documented rules, without a judge model. Pure.

Words are lower case, with citation markers taken out, `3,900` read as `3900`, `17m/s` as `17 m s`, and `20:30` or
`25.5` kept as one word. A number therefore never matches inside another one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final

from train.markers import MARKER

_MARKER = re.compile(MARKER)
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3}(?:,\d{3})+(?!\d)")
_WORD = re.compile(r"\d+(?:[.:]\d+)*|[^\W\d_]+")
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")
_ARTICLES = frozenset({"a", "an", "the"})

REFUSAL: Final = "The documents do not say."
"""What an adapter is taught to answer where nothing that it is given does."""

# An answer is a refusal if one of these stands in it as consecutive words. The first is what training rows teach; the
# others are the usual ways in which an untrained model says it.
REFUSALS: tuple[str, ...] = (
    "do not say",
    "does not say",
    "doesnt say",
    "dont say",
    "do not mention",
    "does not mention",
    "not mentioned",
    "do not state",
    "does not state",
    "not stated",
    "not specified",
    "does not specify",
    "do not specify",
    "does not provide",
    "do not provide",
    "not provided",
    "does not contain",
    "do not contain",
    "no information",
    "not enough information",
    "dont have information",
    "do not have information",
    "i do not know",
    "i dont know",
    "cannot answer",
    "cant answer",
    "unable to answer",
    "not possible to determine",
    "cannot be determined",
)


def words(text: str) -> tuple[str, ...]:
    """The words of a text, normalised as this module's docstring says."""
    text = unicodedata.normalize("NFKC", _MARKER.sub(" ", text)).casefold()
    text = _APOSTROPHE.sub("", _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text))
    return tuple(_WORD.findall(text))


def contains(text: Sequence[str], phrase: Sequence[str]) -> bool:
    """Whether the words of a phrase follow each other somewhere in a text; an empty phrase is nowhere."""
    length = len(phrase)
    if not length:
        return False
    return any(tuple(text[start : start + length]) == tuple(phrase) for start in range(len(text) - length + 1))


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over the words that both share, articles left out; 0 to 1."""
    given = [word for word in words(answer) if word not in _ARTICLES]
    wanted = [word for word in words(gold) if word not in _ARTICLES]
    if not given or not wanted:
        return float(given == wanted)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted))


def is_refusal(answer: str) -> bool:
    """Whether the answer says that the documents do not answer: it contains one of `REFUSALS`."""
    said = words(answer)
    return any(contains(said, words(phrase)) for phrase in REFUSALS)
