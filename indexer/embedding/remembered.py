"""The vectors of the latest queries, which people and programs ask again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class RememberedVectors:
    """Encodes texts that it does not remember; safe under threads, which may encode one text twice."""

    def __init__(self, encode: Encode, *, size: int) -> None:
        """Start with none.

        Args:
            encode: Gives vectors of shape [texts, dimension].
            size: Texts that are remembered, those asked for latest; 0 remembers none.
        """
        self._encode = encode
        self._size = size
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def __len__(self) -> int:
        """Texts that are remembered."""
        return len(self._vectors)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of shape [texts, dimension]; texts that are new are encoded in one call, each once."""
        if not self._size:
            return self._encode(texts)
        with self._lock:
            found = {text: self._vectors[text] for text in texts if text in self._vectors}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            found |= zip(new, self._encode(new), strict=True)
        with self._lock:
            for text in texts:
                self._vectors[text] = found[text]
                self._vectors.move_to_end(text)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
        return np.stack([found[text] for text in texts])
