"""What the model is told at each stage, and how its list of questions is read. Pure."""

from __future__ import annotations

import re

from indexer.passages import Passage
from train.examples.types import Message
from train.wording import REFUSAL

ANSWER_PROMPT = (
    "You answer a question from numbered passages, in one to three sentences, in the language of the question. Use "
    "nothing but the passages, and keep their words and numbers. End every sentence with the number of the passage "
    f'that it is from, like [2]. If the passages do not answer the question, say only: "{REFUSAL}"'
)
CLOSED_BOOK_PROMPT = "Answer the question in one to three sentences. If you do not know the answer, say so."
_QUESTIONS_PROMPT = (
    "You write exam questions. You are given a passage of a larger collection; whoever answers has searched the "
    "collection and does not know which passage you were given. Each question must be answered by the passage, must "
    "be understood without it, naming what it is about, and must not speak of 'the passage', 'the text' or 'the "
    "author'. Write in the language of the passage. Give nothing but the questions, one a line."
)
_NUMBERING = re.compile(r"^(?:[-*•]\s+|\(?\d{1,3}[.):]\s*|Q\d{0,3}[.:]\s*)+")
# Full-width, Arabic, Greek and Armenian question marks beside ours.
_QUESTION_MARKS = ("?", "？", "؟", ";", "՞")
_LEAST_CHARACTERS, _MOST_CHARACTERS = 8, 400


def questions_messages(passage: Passage, *, count: int) -> tuple[Message, ...]:
    """What is sent to be given questions about a chunk."""
    place = " > ".join(passage.places)
    asked = f"Write {count} question{'s' if count > 1 else ''} about this passage.\n\n{place}\n{passage.text.strip()}"
    return ({"role": "system", "content": _QUESTIONS_PROMPT}, {"role": "user", "content": asked})


def closed_book_messages(question: str) -> tuple[Message, ...]:
    """What is sent to see whether a question is answered without passages."""
    return ({"role": "system", "content": CLOSED_BOOK_PROMPT}, {"role": "user", "content": question})


def read_questions(text: str, *, count: int) -> tuple[str, ...]:
    """Return the questions of a model's answer, at most `count`.

    Lines that are no questions, such as an introduction or one that was cut, are left out; so are numbers, bullets,
    quotes and emphasis around them.
    """
    found: dict[str, None] = {}
    for line in text.splitlines():
        question = _NUMBERING.sub("", line.strip().strip("*_`").strip()).strip().strip("\"'“”*_,").strip()
        if question.endswith(_QUESTION_MARKS) and _LEAST_CHARACTERS <= len(question) <= _MOST_CHARACTERS:
            found.setdefault(question)
    return tuple(found)[:count]
