"""The demo's questions: reading them, and choosing those that are asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexer.errors import InputError, NotFoundError

Text = Annotated[str, Field(min_length=1)]
Kind = Literal["single", "two_documents", "confusable_number", "exception", "unanswerable"]


class Question(BaseModel):
    """One line of questions.jsonl."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Text
    question: Text
    answer: Text
    must_include: tuple[Text, ...] = Field(min_length=1)
    sources: tuple[Text, ...] = Field(min_length=1)
    kind: Kind
    split: Literal["train", "test"]

    @property
    def answerable(self) -> bool:
        """Whether the corpus answers it; the sources of the others are where a reader would look in vain."""
        return self.kind != "unanswerable"


def read_questions(path: Path) -> tuple[Question, ...]:
    """Read the questions.

    Raises:
        NotFoundError: The file is not there.
        InputError: A line does not fit; names it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFoundError(f"The demo's questions {path} are missing; install Graftwork again.") from error
    questions: list[Question] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            questions.append(Question.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the line"
            raise InputError(f"{path}, line {number}: {field}: {first['msg']}.") from error
    return tuple(questions)


def document_key(document_id: str) -> str:
    """A document id without the name of the folder that was indexed, as questions name their sources."""
    return document_id.split("/", 1)[-1]


def choose_test_questions(questions: Sequence[Question], *, limit: int, seed: int) -> tuple[Question, ...]:
    """The held-out questions in the order they are asked, `limit` at most.

    Kinds take turns in proportion to how many there are of each, so that any prefix is a fair sample of the kinds: the
    asking may be cut off by its time budget.
    """
    held_out = [question for question in questions if question.split == "test"]
    random.Random(seed).shuffle(held_out)
    sizes: dict[str, int] = {}
    places: list[tuple[float, int]] = []
    totals = {kind: sum(question.kind == kind for question in held_out) for kind in {q.kind for q in held_out}}
    for index, question in enumerate(held_out):
        sizes[question.kind] = sizes.get(question.kind, 0) + 1
        places.append(((sizes[question.kind] - 0.5) / totals[question.kind], index))
    return tuple(held_out[index] for _, index in sorted(places)[:limit])
