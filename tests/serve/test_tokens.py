from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serve.tokens import token_counter
from tests.models import embedded_tokenizer

TEXTS = ("The hawser is 212 metres long.", "", "rope " * 3000, "Über 5 € – naïve ☃", "<|im_start|>user\nrope<|im_end|>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    embedded_tokenizer().save_pretrained(folder)
    return folder


def test_a_text_has_as_many_tokens_as_the_models_own_tokenizer_makes(model: Path) -> None:
    count = token_counter(model)
    expected = [len(embedded_tokenizer()(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    assert [count(text) for text in TEXTS] == expected


def test_many_threads_may_count_at_once(model: Path) -> None:
    count = token_counter(model)
    expected = [count(text) for text in TEXTS] * 40
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(count, TEXTS * 40)) == expected
