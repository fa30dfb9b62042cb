"""Prompts of a wanted length, none like another, so that no prefix cache answers for the model. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

# One token each in most vocabularies, with the blank before it.
_TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city name president team minute idea body information back parent "
    "face level office door health person art war history party result change morning reason research girl guy moment "
    "air teacher force education foot boy age policy music market sense nation plan college interest death course "
    "someone experience behind reach local kill six remain effect suggest class control field raise care perhaps late"
)
_WORDS = _TEXT.split()
_TRIES = 8


class Prompts:
    """Gives one prompt after another; the same seed gives the same ones."""

    def __init__(self, *, seed: int, tokens: int, count_tokens: Callable[[str], int]) -> None:
        """Start at the first.

        Args:
            seed: Which series.
            tokens: Tokens of a prompt, without what a chat template adds; met within a token or two.
            count_tokens: Counts a text's tokens.
        """
        self._random = random.Random(seed)
        self._tokens = tokens
        self._count = count_tokens

    def take(self, count: int) -> list[str]:
        """The next prompts."""
        return [self._one() for _ in range(count)]

    def _one(self) -> str:
        words = self._random.choices(_WORDS, k=max(1, self._tokens))
        for _ in range(_TRIES):
            over = self._count(" ".join(words)) - self._tokens
            if over == 0:
                break
            words = words[: max(1, len(words) - over)] if over > 0 else words + self._random.choices(_WORDS, k=-over)
        return " ".join(words)
