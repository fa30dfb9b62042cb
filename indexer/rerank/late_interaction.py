"""Late interaction by the embedder that is loaded anyway: each word of a question looks for its like in the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.embedder import Embedder


class LateInteraction:
    """Scores a text by the mean over the question's words of the largest cosine with a word of the text.

    Words and not tokens, and no special tokens, because that measured better; weights by rarity brought nothing more.
    """

    def __init__(self, embedder: Embedder) -> None:
        """Take the embedder; nothing is loaded."""
        self._embedder = embedder

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a score for each text, -1 to 1, of shape [len(texts)]."""
        [asked] = self._embedder.encode_words([query], query=True)
        found = self._embedder.encode_words(texts, query=False)
        return np.asarray([max_similarity(asked, words) for words in found], dtype=np.float32)


def max_similarity(asked: NDArray[np.float32], words: NDArray[np.float32]) -> float:
    """Return the mean over the rows of `asked` of the largest product with a row of `words`; 0 where one has none."""
    if not len(asked) or not len(words):
        return 0.0
    return float((asked @ words.T).max(axis=1).mean())
