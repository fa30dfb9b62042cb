from __future__ import annotations

import numpy as np
import pytest

from indexer.errors import InputError
from tests.models import embedded_tokenizer as smollm2
from train.chat_template import training_template
from train.data.row import Example, Origin, Turn
from train.tokens import TokenRows, encode_examples
from train.types import TokenStatistics


def _example(question: str, answer: str, line: int = 1) -> Example:
    return Example((Turn("user", question), Turn("assistant", answer)), Origin("rows.jsonl", line))


def _encode(examples: list[Example], max_length: int) -> tuple[TokenRows, TokenStatistics]:
    return encode_examples(
        examples,
        tokenizer=smollm2(),
        template=training_template(smollm2(), base_name="smollm2"),
        max_length=max_length,
    )


def test_rows_are_what_the_base_models_own_template_gives() -> None:
    examples = [_example("Why?", "Because."), _example("How deep is it there?", "Two spans [1].")]
    rows, statistics = _encode(examples, 512)
    for index, example in enumerate(examples):
        ids, supervised = rows.row(index)
        own = smollm2().apply_chat_template(example.as_dicts(), tokenize=True, return_dict=True)["input_ids"]
        assert ids.tolist() == own
        assert smollm2().decode(ids[supervised]) == example.turns[1].content + "<|im_end|>"
    assert statistics.rows == len(rows) == 2
    assert statistics.tokens == rows.lengths.sum()
    assert statistics.supervised_tokens == rows.supervised.sum()
    assert (statistics.truncated_rows, statistics.cut_tokens) == (0, 0)
    labels = rows.labels()
    assert (labels[~rows.supervised] == -100).all()
    assert (labels[rows.supervised] == rows.ids[rows.supervised]).all()


def test_long_rows_are_cut_and_counted() -> None:
    whole, _ = _encode([_example("q", "word " * 60)], 512)
    rows, statistics = _encode([_example("q", "word " * 60), _example("q", "a")], 50)
    assert rows.lengths[0] == 50
    assert (rows.row(0)[0] == whole.row(0)[0][:50]).all()
    assert statistics.longest_row == whole.lengths[0]
    assert (statistics.truncated_rows, statistics.cut_tokens) == (1, whole.lengths[0] - 50)


def test_rows_whose_answers_are_cut_off_are_all_named() -> None:
    examples = [_example("q", "a", 1), _example("long " * 100, "a", 2), _example("longer " * 300, "a", 5)]
    with pytest.raises(InputError) as caught:
        _encode(examples, 64)
    text = str(caught.value)
    assert "2 of 3 rows leave nothing to learn within max_length 64" in text
    assert "rows.jsonl:2: " in text
    assert "rows.jsonl:5: " in text
    assert "rows.jsonl:1: " not in text
    first = len(_encode([examples[1]], 2048)[0].row(0)[1]) - 3
    assert f"number {first + 1}" in text


def test_a_row_of_the_greatest_length_keeps_its_last_token() -> None:
    rows, _ = _encode([_example("q", "a")], 512)
    exact, statistics = _encode([_example("q", "a")], int(rows.lengths[0]))
    assert np.array_equal(exact.ids, rows.ids)
    assert statistics.truncated_rows == 0
