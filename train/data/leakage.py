"""What an evaluation dataset shares with the training data: it would measure what was learnt by heart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from train.data.duplicates import question, spoken
from train.data.row import Example, Origin

Shared = Literal["row", "question", "document"]


@dataclass(frozen=True, slots=True)
class Leak:
    """An evaluation row that the training data knows.

    Attributes:
        origin: The evaluation row.
        shared: What both have: the whole row, the question alone, or a document that both were made from.
        training: The first training row that has it.
        document: The document, where it is one.
    """

    origin: Origin
    shared: Shared
    training: Origin
    document: str | None = None

    def sentence(self) -> str:
        """Return both rows and what they share, in a line."""
        what = f"document {self.document}" if self.document is not None else self.shared
        return f"{self.origin} has the {what} of {self.training}"


def find_leaks(training: Sequence[Example], evaluation: Sequence[Example]) -> list[Leak]:
    """Return the evaluation rows that the training data knows, each once, by the most that is shared."""
    rows: dict[str, Origin] = {}
    questions: dict[str, Origin] = {}
    documents: dict[str, Origin] = {}
    for example in training:
        rows.setdefault(spoken(example), example.origin)
        questions.setdefault(question(example), example.origin)
        for document in example.documents:
            documents.setdefault(document, example.origin)
    return [leak for example in evaluation if (leak := _leak(example, rows, questions, documents)) is not None]


def _leak(
    example: Example, rows: dict[str, Origin], questions: dict[str, Origin], documents: dict[str, Origin]
) -> Leak | None:
    if (known := rows.get(spoken(example))) is not None:
        return Leak(example.origin, "row", known)
    asked = question(example)
    if asked and (known := questions.get(asked)) is not None:
        return Leak(example.origin, "question", known)
    for document in example.documents:
        if (known := documents.get(document)) is not None:
            return Leak(example.origin, "document", known, document)
    return None
