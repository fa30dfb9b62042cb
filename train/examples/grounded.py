"""Whether an answer is made of what its passages say: its numbers, and most of its content words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from indexer.passages import Passage
from train.wording import words

# Words of English that say nothing of their own; of other languages the short ones count as content.
_SMALL_WORDS = """
a about after all also an and any are as at be because been before being between both but by can could did do does
during each either for from had has have he her his how i if in into is it its may might more most must no nor not of
on one only or other our out over own per shall she should so some such than that the their them then there these they
this those through to under until up upon was we were what when where whether which while who whose why will with
within without would yes you your
"""
_EMPTY = frozenset(_SMALL_WORDS.split())
# Letters at the end of a word that may differ: "suspended" is in a passage that says "suspends". Shorter than this
# many letters a word must be there as it is.
_ENDING, _SHORTEST_STEM = 3, 4


@dataclass(frozen=True, slots=True)
class Grounding:
    """How far an answer is in its passages.

    Attributes:
        share: Of its content words, the share that is there, 0 to 1; 1 where it has none.
        missing_numbers: Numbers that are not there, in their order.
        missing_words: Content words that are not there, likewise.
    """

    share: float
    missing_numbers: tuple[str, ...]
    missing_words: tuple[str, ...]

    def holds(self, threshold: float) -> bool:
        """Whether every number is there, and at least this share of the words."""
        return not self.missing_numbers and self.share >= threshold


class Said:
    """The words of texts, to be looked up by."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the texts."""
        self._words = {word for text in texts for word in words(text)}
        self._stems = {
            word[:length] for word in self._words for length in range(_SHORTEST_STEM, len(word) + 1) if word.isalpha()
        }

    def __contains__(self, word: str) -> bool:
        """Whether a word is there, or one that differs in its ending."""
        return word in self._words or (word.isalpha() and stem(word) in self._stems)


def stem(word: str) -> str:
    """A word without its ending; short words are whole."""
    return word if len(word) <= _SHORTEST_STEM else word[: max(_SHORTEST_STEM, len(word) - _ENDING)]


def content_words(text: str) -> tuple[str, ...]:
    """The words of a text that say something; numbers are not among them."""
    return tuple(word for word in words(text) if word.isalpha() and word not in _EMPTY)


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text, with citation markers left out."""
    return tuple(word for word in words(text) if not word.isalpha())


def grounding(answer: str, passages: Sequence[Passage]) -> Grounding:
    """Look for an answer's words and numbers in passages, their titles and headings included."""
    said = Said(text for passage in passages for text in (*passage.places, passage.text))
    content = content_words(answer)
    missing = tuple(word for word in content if word not in said)
    return Grounding(
        share=1 - len(missing) / len(content) if content else 1.0,
        missing_numbers=tuple(number for number in numbers(answer) if number not in said),
        missing_words=missing,
    )
