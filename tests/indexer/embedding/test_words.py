from __future__ import annotations

import numpy as np
import pytest

from indexer.embedding.words import word_means

TOKENS = np.asarray([[9, 9], [2, 0], [0, 3], [0, 5], [9, 9]], dtype=np.float32)


def test_a_word_is_the_mean_of_its_tokens_directions() -> None:
    found = word_means(TOKENS, [None, 0, 0, 1, None])
    assert found == pytest.approx(np.asarray([[0.7071, 0.7071], [0, 1]]), abs=1e-4)


def test_words_that_the_model_did_not_read_have_no_vector_and_its_end_mark_is_none() -> None:
    assert word_means(TOKENS, [None, 0, 1, 2, 3, 4, None]) == pytest.approx(np.asarray([[1, 0], [0, 1], [0, 1]]))


def test_padding_in_front_is_passed_over() -> None:
    assert word_means(TOKENS, [0, 1, None]) == pytest.approx(np.asarray([[0, 1], [0, 1]]))


def test_no_word_no_vector() -> None:
    assert word_means(TOKENS, [None] * 5).shape == (0, 2)
