from __future__ import annotations

import numpy as np
import pytest

from indexer.embedding.embedder import Embedder
from indexer.rerank.late_interaction import LateInteraction, max_similarity

TEXTS = [
    "The hawser of the north berth is forty metres long.",
    "Sorting a hash by value: pass sort a block that compares the values.",
    "The red lamp burns colza oil; the green one burns paraffin.",
]


def test_each_word_of_the_question_takes_its_best() -> None:
    asked = np.asarray([[1, 0], [0, 1]], dtype=np.float32)
    words = np.asarray([[0.6, 0.8], [1, 0]], dtype=np.float32)
    assert max_similarity(asked, words) == pytest.approx((1 + 0.8) / 2)
    assert max_similarity(asked, words[:0]) == max_similarity(asked[:0], words) == 0.0


def test_the_fitting_text_has_the_highest_score_whatever_its_place(embedder: Embedder) -> None:
    reranker = LateInteraction(embedder)
    scores = reranker.scores("Which fuel does the red lamp burn?", TEXTS)
    assert (scores.shape, scores.dtype, int(np.argmax(scores))) == ((3,), np.float32, 2)
    assert reranker.scores("Which fuel does the red lamp burn?", TEXTS[::-1]) == pytest.approx(scores[::-1], abs=0.02)
    assert reranker.scores("anything", []).shape == (0,)


def test_words_are_counted_without_marks_and_as_far_as_the_model_reads(embedder: Embedder) -> None:
    short, long = embedder.encode_words(["unpacking the hawser", "rope " * 400], query=False)
    assert (short.shape, long.shape) == ((3, embedder.dimension), (embedder.max_tokens - 2, embedder.dimension))
    assert np.linalg.norm(short, axis=1) == pytest.approx(np.ones(3), abs=1e-4)


def test_a_models_prompt_is_read_and_is_no_word_of_the_question(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    [plain] = embedder.encode_words(["red lamp"], query=True)
    monkeypatch.setitem(embedder._model.prompts, "query", "query: ")
    [prompted] = embedder.encode_words(["red lamp"], query=True)
    assert prompted.shape == plain.shape == (2, embedder.dimension)
    assert not np.allclose(prompted, plain, atol=1e-2)
