from __future__ import annotations

import pytest

from tests.train.examples.making import passage
from train.examples.prompts import ANSWER_PROMPT, questions_messages, read_questions
from train.wording import REFUSAL, is_refusal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How long is it?\nHow deep is it?", ("How long is it?", "How deep is it?")),
        (
            "Here are two questions:\n\n1. How long is it?\n2) **How deep is it?**",
            ("How long is it?", "How deep is it?"),
        ),
        ('- "How long is it?"\n* How deep is it?', ("How long is it?", "How deep is it?")),
        ("Q1: How long is it?\n(2) Wie tief ist es?", ("How long is it?", "Wie tief ist es?")),
        ("How long is it?\nHow long is it?\nHow deep is i", ("How long is it?",)),
        ("このロープの長さはどれくらいですか？", ("このロープの長さはどれくらいですか？",)),
        ("I cannot do that.", ()),
        ("?", ()),
        ("", ()),
    ],
)
def test_questions_are_read_however_they_are_listed(text: str, expected: tuple[str, ...]) -> None:
    assert read_questions(text, count=5) == expected


def test_no_more_questions_are_taken_than_asked_for() -> None:
    assert read_questions("One is what?\nTwo is what?\nThree is what?", count=2) == ("One is what?", "Two is what?")


def test_the_model_is_told_the_refusal_and_where_a_chunk_stands() -> None:
    assert REFUSAL in ANSWER_PROMPT
    assert is_refusal(REFUSAL)
    [_, user] = questions_messages(passage(0, "Text.", heading=("Ropes", "Hawsers")), count=1)
    assert user["content"] == "Write 1 question about this passage.\n\nropes > Ropes > Hawsers\nText."
