from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.remembered import RememberedVectors


class Encoder:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append([*texts])
        return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)


def test_texts_are_encoded_once_and_come_in_their_order() -> None:
    encoder = Encoder()
    vectors = RememberedVectors(encoder, size=3)
    assert vectors(["a", "bb", "a"]).tolist() == [[1, 97], [2, 98], [1, 97]]
    assert vectors(["bb", "ccc"]).tolist() == [[2, 98], [3, 99]]
    assert vectors(["a"]).shape == (1, 2)
    assert encoder.calls == [["a", "bb"], ["ccc"]]


def test_those_asked_for_longest_ago_are_forgotten() -> None:
    encoder = Encoder()
    vectors = RememberedVectors(encoder, size=2)
    for texts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        vectors(texts)
    assert encoder.calls == [["a"], ["b"], ["c"], ["b"]]
    assert vectors(["d", "e", "f"]).shape == (3, 2)
    assert len(vectors) == 2


def test_none_are_remembered_where_none_shall_be() -> None:
    encoder = Encoder()
    vectors = RememberedVectors(encoder, size=0)
    vectors(["a"])
    vectors(["a", "a"])
    assert encoder.calls == [["a"], ["a", "a"]]


def test_threads_get_their_own_answers() -> None:
    vectors = RememberedVectors(Encoder(), size=5)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: vectors([chr(97 + number % 9)]), range(400)))
    assert [int(each[0, 1]) for each in found] == [97 + number % 9 for number in range(400)]
