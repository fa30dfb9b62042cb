"""Reads chat datasets: JSON lines, each with `messages`, checked in full before any work begins."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from indexer.errors import InputError, NotFoundError

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_LISTED = 20


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation.

    Attributes:
        role: Who speaks.
        content: What is said, as written in the file.
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ChatExample:
    """One row of a dataset.

    Attributes:
        messages: The turns, at least one of them by the assistant.
        line: One-based line number in the file.
    """

    messages: tuple[ChatMessage, ...]
    line: int

    def as_dicts(self) -> list[dict[str, str]]:
        """Return the turns in the form that chat templates take."""
        return [{"role": message.role, "content": message.content} for message in self.messages]


class _BadLineError(ValueError):
    """Why a line cannot be used, in words that go behind "line 7: "."""


def read_chat_dataset(path: Path) -> list[ChatExample]:
    """Read a file of JSON objects, one a line, with `messages` as OpenAI writes them; other keys are left alone.

    Raises:
        NotFoundError: There is no such file.
        InputError: The file is empty, or lines are bad: all are counted, the first 20 listed with the reason.
    """
    examples: list[ChatExample] = []
    bad: list[str] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            examples.append(ChatExample(messages=_parse_line(line), line=number))
        except _BadLineError as reason:
            bad.append(f"line {number}: {reason}")
    if bad:
        listing = "\n".join(f"  {entry}" for entry in bad[:_LISTED])
        rest = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise InputError(
            f"{len(bad)} of {len(bad) + len(examples)} rows of {path} cannot be trained on; correct or remove them:\n"
            f"{listing}{rest}"
        )
    if not examples:
        raise InputError(f"The dataset {path} holds no rows; give one JSON object with `messages` a line.")
    return examples


def hash_dataset(path: Path) -> str:
    """Return the hex sha256 of a dataset file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no dataset {path}; give a JSON-lines file.") from error
    except OSError as error:
        raise InputError(f"The dataset {path} cannot be read: {error.strerror or error}.") from error


def _parse_line(line: bytes) -> tuple[ChatMessage, ...]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _BadLineError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _BadLineError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise _BadLineError("not usable JSON: nested too deeply") from error
    turns = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        raise _BadLineError("no messages: a row is an object with a non-empty list `messages`")
    messages = tuple(_parse_turn(turn, position) for position, turn in enumerate(turns, start=1))
    if all(message.role != "assistant" for message in messages):
        raise _BadLineError("no assistant turn, so there is nothing to learn")
    return messages


def _parse_turn(turn: object, position: int) -> ChatMessage:
    if not isinstance(turn, dict):
        raise _BadLineError(f"message {position} is not an object")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise _BadLineError(f"message {position} has the unknown role {role!r}; use {', '.join(ROLES)}")
    if not isinstance(content, str) or not content.strip():
        raise _BadLineError(f"message {position} ({role}) has empty content")
    return ChatMessage(role=cast(Role, role), content=content)
