"""F1 of greedy answers, held against what the model is known to write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from tests.models import embedded_tokenizer
from train.measuring import forward_cost, mean_f1, mean_loss
from train.tokens import TokenRows
from train.wording import token_f1

QUESTIONS = ("How deep is the mooring?", "Who keeps the rope?", "Where does the ferry land?")
LENGTH = 12


@pytest.fixture(scope="module")
def trainer(tiny_base_folder: Path) -> Any:
    """What measuring needs of a trainer."""
    model = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype="float32").eval()
    return SimpleNamespace(accelerator=Accelerator(cpu=True), model=model, processing_class=embedded_tokenizer())


def prompt_of(question: str) -> list[int]:
    ids: list[int] = embedded_tokenizer()(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")[
        "input_ids"
    ]
    return ids


def written(model: Any, prompt: list[int]) -> list[int]:
    """The likeliest tokens one after another, by whole forward passes."""
    ids = [*prompt]
    for _ in range(LENGTH):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def rows_of(pairs: list[tuple[list[int], list[int]]]) -> TokenRows:
    return TokenRows(
        ids=np.array([token for prompt, answer in pairs for token in (*prompt, *answer)], dtype=np.int32),
        supervised=np.array(
            [mark for prompt, answer in pairs for mark in (*[False] * len(prompt), *[True] * len(answer))]
        ),
        offsets=np.cumsum([0, *(len(prompt) + len(answer) for prompt, answer in pairs)]),
    )


def test_what_a_model_writes_is_scored_against_the_rows(trainer: Any) -> None:
    tokenizer = embedded_tokenizer()
    prompts = [prompt_of(question) for question in QUESTIONS]
    own = [written(trainer.model, prompt) for prompt in prompts]
    # The answers end where the rows' own do, so that nothing is written behind them.
    other = tokenizer("The keeper of the northern pier has it.")["input_ids"]
    rows = rows_of([*zip(prompts[:2], own[:2], strict=True), (prompts[2], other)])
    expected = []
    for prompt, answer in zip(prompts, [own[0], own[1], other], strict=True):
        room = 2 * len(answer) + 8
        with torch.no_grad():
            ids = torch.tensor([prompt])
            whole = trainer.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=room, do_sample=False
            )
        given = tokenizer.decode(whole[0, len(prompt) :], skip_special_tokens=True)
        expected.append(token_f1(given, tokenizer.decode(answer, skip_special_tokens=True)))
    assert expected[0] > 0.3
    assert mean_f1(trainer, rows, dtype="float32", most=9) == pytest.approx(np.mean(expected))
    assert mean_f1(trainer, rows, dtype="float32", most=1) == pytest.approx(expected[0])


def test_rows_without_a_question_have_no_f1_and_no_loss_is_infinite(trainer: Any) -> None:
    rows = rows_of([([], [5, 6, 7])])
    assert mean_f1(trainer, rows, dtype="float32", most=9) is None
    loss = mean_loss(trainer, rows, dtype="float32")
    assert loss is not None
    assert 0 < loss < 20


def test_a_forward_pass_is_timed_apart_from_what_it_reads(trainer: Any) -> None:
    cost = forward_cost(trainer, rows_of([([1] * 100, [2] * 100)]), dtype="float32")
    assert 0 < cost.token_s < 1
    assert 0 <= cost.pass_s < 10
