"""How passages stand in an example: as the app shows them to a model, or in the question itself."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.passages import Passage
    from train.examples.types import Message


class PassagesIn(StrEnum):
    """Which message carries the passages, as the command line spells it."""

    SYSTEM = "system"
    USER = "user"


def in_system(question: str, *, prompt: str | None, passages: Sequence[Passage]) -> tuple[Message, ...]:
    """Prompt and passages in the system message: what a served specialist reads."""
    from serve.prompt import render_system

    system = render_system(prompt, None, _rendered(passages))
    asked: Message = {"role": "user", "content": question}
    return ({"role": "system", "content": system}, asked) if system else (asked,)


def in_user(question: str, *, prompt: str | None, passages: Sequence[Passage]) -> tuple[Message, ...]:
    """The prompt in the system message, the passages before the question in the user's."""
    from serve.prompt import render_system

    shown = render_system(None, None, _rendered(passages))
    content = f"{shown}\n\n{question}" if shown else question
    asked: Message = {"role": "user", "content": content}
    return ({"role": "system", "content": prompt}, asked) if prompt else (asked,)


def _rendered(passages: Sequence[Passage]) -> list[str]:
    from serve.prompt import render_passage

    return [render_passage(number, passage) for number, passage in enumerate(passages, start=1)]
