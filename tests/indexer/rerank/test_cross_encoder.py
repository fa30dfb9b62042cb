from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.errors import InputError, UnavailableError
from indexer.rerank.cross_encoder import CrossEncoderReranker
from tests.models import build_word_matcher

WORDS = ["hawser", "lamp", "ferry", "barometer", "oil", "rope", "berth", "crew", "tide", "anchor", "sail", "mast"]
TEXTS = ["hawser lamp ferry", "barometer oil", "rope berth crew tide anchor", "mast"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_word_matcher(tmp_path_factory.mktemp("models") / "tiny", WORDS)


@pytest.fixture(scope="module")
def reranker(folder: Path) -> CrossEncoderReranker:
    return CrossEncoderReranker(str(folder), "cpu", dtype="float32")


def test_question_and_text_are_read_together(reranker: CrossEncoderReranker) -> None:
    best = {word: int(np.argmax(reranker.scores(word, TEXTS))) for word in ("ferry", "oil", "crew", "mast")}
    assert best == {"ferry": 0, "oil": 1, "crew": 2, "mast": 3}


def test_scores_are_raw_and_stand_in_the_order_of_the_texts(reranker: CrossEncoderReranker) -> None:
    scores = reranker.scores("crew", TEXTS)
    assert (scores.shape, scores.dtype) == ((4,), np.float32)
    assert scores.max() > 1.0 or scores.min() < 0.0
    assert np.allclose(reranker.scores("crew", TEXTS[::-1])[::-1], scores, atol=1e-4)
    assert reranker.scores("crew", []).shape == (0,)


def test_bfloat16_orders_as_float32_does(folder: Path, reranker: CrossEncoderReranker) -> None:
    quick = CrossEncoderReranker(str(folder), "cpu", dtype="bfloat16")
    near, exact = quick.scores("oil", TEXTS), reranker.scores("oil", TEXTS)
    assert not np.array_equal(near, exact)
    assert int(np.argmax(near)) == int(np.argmax(exact)) == 1


def test_a_model_of_another_kind_is_refused_and_not_given_random_weights() -> None:
    with pytest.raises(InputError, match="no cross-encoder but BertModel"):
        CrossEncoderReranker(str(resolve_embedder(EMBEDDED_NAME).path))


def test_a_model_with_several_scores_is_refused(tmp_path: Path) -> None:
    many = build_word_matcher(tmp_path / "many", WORDS, labels=3)
    with pytest.raises(InputError, match="gives 3 scores per pair"):
        CrossEncoderReranker(str(many))


@pytest.mark.parametrize("name", ["/no/such/folder", "cross-encoder/that-nobody-has", "a b"])
def test_a_model_that_is_not_here_is_named(name: str) -> None:
    with pytest.raises(UnavailableError, match="neither a folder nor a model in the local model cache"):
        CrossEncoderReranker(name)


def test_a_model_saved_by_the_library_is_one(tmp_path: Path, folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(folder), local_files_only=True).save(str(tmp_path / "saved"))
    again = CrossEncoderReranker(str(tmp_path / "saved"), "cpu", dtype="float32")
    assert int(np.argmax(again.scores("oil", TEXTS))) == 1
