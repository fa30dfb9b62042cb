"""Plain data between the stages that make examples, and what they ask of the outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from indexer.passages import Passage
from indexer.types import ChunkPlace

Stage = Literal["questions", "answer", "closed_book"]
STAGES: tuple[Stage, ...] = ("questions", "answer", "closed_book")
Side = Literal["training", "evaluation"]
Kind = Literal["closed", "golden", "absent"]
Reason = Literal[
    "unreadable questions",
    "points at its passage",
    "equal question",
    "nearly equal question",
    "refused",
    "cut",
    "ungrounded",
    "known without passages",
    "uncited",
    "without evidence",
]

# A message of a chat request, as the OpenAI client takes it.
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a chunk.

    Attributes:
        text: The question.
        number: From 1, among the questions of its chunk.
        golden: The chunk that it was made from.
        side: On which side of the split its document lies.
    """

    text: str
    number: int
    golden: Passage
    side: Side


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with the answer that was given from passages.

    Attributes:
        question: The question.
        found: What retrieval found for it on its side of the split, best first, the golden chunk among it.
        shown: Those that the answer was given from; shown[0] is [1].
        answer: The answer, with its markers.
        cut: Whether it was cut at its longest length.
    """

    question: Question
    found: tuple[Passage, ...]
    shown: tuple[Passage, ...]
    answer: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a chunk's question, or all of them, came to nothing.

    Attributes:
        reason: Of a known kind.
        chunk_id: The chunk.
        question: The question; empty where there was none.
        detail: What was found, in a few words.
    """

    reason: Reason
    chunk_id: str
    question: str
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """One example.

    Attributes:
        messages: The conversation, the answer last.
        kind: `closed`: without passages; `golden`: its chunk is among the passages; `absent`: it is not, and the
            answer is the refusal.
        golden: Id of the chunk that the question was made from.
        documents: Ids of all documents that went into it.
        chunks: Ids of the chunks that went into it, in the order of their numbers where they are shown.
        side: Where it is written.
    """

    messages: tuple[Message, ...]
    kind: Kind
    golden: str
    documents: tuple[str, ...]
    chunks: tuple[str, ...]
    side: Side


class Corpus(Protocol):
    """A collection's live generation, as it stood when the work began; calls may block."""

    @property
    def name(self) -> str:
        """Alias of the collection."""

    @property
    def generation(self) -> int:
        """Number of the generation."""

    def places(self) -> Iterable[ChunkPlace]:
        """Where its chunks stand, in any order."""

    def read(self, document_id: str) -> tuple[Passage, ...]:
        """A document's chunks, in their order."""

    def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Passage, ...]]:
        """For each query the best k passages, best first.

        Raises:
            ConflictError: Another generation has become the live one.
        """


class Layout(Protocol):
    """How passages and a question become the messages that a model reads."""

    def __call__(self, question: str, *, prompt: str | None, passages: Sequence[Passage]) -> tuple[Message, ...]:
        """Lay out; passages[0] is [1], and none are shown where there are none."""
