"""What gives answers, whichever way: an endpoint (`asking.py`) or engines of our own (`offline.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from train.examples.costs import Costs, Usage
from train.examples.journal import Journal, Key, Reply
from train.examples.types import Message, Stage


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        chunk: Id of the chunk that it is about.
        question: Number of the chunk's question; 0 where it is for all of them.
        messages: What is sent.
    """

    chunk: str
    question: int
    messages: tuple[Message, ...]


class Teacher(Protocol):
    """Asks many requests and gives their answers; what the journal knows is not asked again."""

    @property
    def last_failure(self) -> str:
        """What the last request said that failed; empty where none did."""

    def ask_all(self, stage: Stage, asks: Sequence[Ask], *, progress: Callable[[int], None]) -> list[Reply | None]:
        """Return what came for each request, in their order; None for one that failed.

        Every answer is in the journal as soon as it has come.

        Args:
            stage: What they are for.
            asks: The requests.
            progress: Told how many have an answer or have failed.

        Raises:
            GraftworkError: The others are not worth trying; what has come is kept.
        """


@dataclass(frozen=True, slots=True)
class Books:
    """What a run has been told, and what that cost.

    Attributes:
        journal: The answers.
        costs: Their tokens, by stage.
    """

    journal: Journal
    costs: Costs

    def remembered(self, key: Key) -> Reply | None:
        """Return and count the answer that the journal has, if it has one."""
        known = self.journal.find(key)
        if known is not None:
            self.costs.remembered(key.stage, Usage(known.prompt_tokens, known.completion_tokens))
        return known

    def count(self, reply: Reply) -> None:
        """Count an answer that came."""
        self.costs.answered(reply.stage, Usage(reply.prompt_tokens, reply.completion_tokens))

    @property
    def kept(self) -> str:
        """What is told of the answers when a run is given up."""
        return f"{len(self.journal)} answers are kept: run it again to go on from there"
