"""From vectors of tokens to vectors of words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def word_means(tokens: NDArray[np.float32], words: Sequence[int | None]) -> NDArray[np.float32]:
    """Return a unit vector for each word, the mean of its tokens' directions, of shape [words, dimension].

    Args:
        tokens: A vector for each token that the model read, of shape [tokens, dimension]; where it was padded in front,
            the padding too.
        words: The number of each token's word, rising, None for tokens of no word; of the whole text, which may be
            longer than what the model read.
    """
    read = tokens[-len(words) :] if len(tokens) > len(words) else tokens
    belongs = list(words[: len(read)])
    if len(words) > len(read) and belongs:
        belongs[-1] = None  # the model's own end mark took this place
    places = [place for place, word in enumerate(belongs) if word is not None]
    if not places:
        return np.zeros((0, tokens.shape[1]), dtype=np.float32)
    numbers = np.asarray([belongs[place] for place in places])
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return _unit(np.add.reduceat(_unit(read[places]), starts, axis=0))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found
