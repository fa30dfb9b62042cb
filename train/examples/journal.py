"""Answers that were paid for, beside the output as JSON lines: what is in there is not asked again.

A line is known by its stage, its chunk, the number of its question, and a digest of the request itself: another model,
prompt or context asks anew. A line that a crash cut short counts for nothing and is cut off.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from indexer.errors import ConflictError, InputError, system_cause, writing
from train.examples.types import Stage


@dataclass(frozen=True, slots=True)
class Key:
    """What a request is for.

    Attributes:
        stage: The stage.
        chunk: Id of the chunk.
        question: Number of the chunk's question; 0 where it is for all of them.
        request: `digest` of what is sent.
    """

    stage: Stage
    chunk: str
    question: int
    request: str


class Reply(BaseModel):
    """What came back, with its key, as it stands in a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage
    chunk: str
    question: int
    request: str
    text: str
    cut: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    @property
    def key(self) -> Key:
        """What the request was for."""
        return Key(self.stage, self.chunk, self.question, self.request)


def digest(request: Mapping[str, JsonValue]) -> str:
    """Return a request's fingerprint, which the order of its fields does not change."""
    written = json.dumps(request, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()[:32]


class Journal:
    """An open journal; safe under threads."""

    def __init__(self, file: BinaryIO, *, path: Path, replies: dict[Key, Reply]) -> None:
        """Take the file, at its end, and what it holds."""
        self._file = file
        self._path = path
        self._replies = replies
        self._lock = threading.Lock()

    def find(self, key: Key) -> Reply | None:
        """Return what came back for a request, or None."""
        return self._replies.get(key)

    def keep(self, reply: Reply) -> None:
        """Add a reply; it is with the operating system when this returns.

        Raises:
            UnavailableError: It cannot be written.
        """
        line = reply.model_dump_json().encode() + b"\n"
        with self._lock, writing("The journal", self._path, otherwise="name another --out"):
            self._file.write(line)
            self._file.flush()
            self._replies[reply.key] = reply

    def __len__(self) -> int:
        return len(self._replies)


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Open a journal, which is made where there is none, against all others.

    Raises:
        ConflictError: Another run has it open.
        InputError: It is none.
        UnavailableError: It cannot be written.
    """
    with writing("The journal", path, otherwise="name another --out"):
        file = path.open("a+b")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"Another run is writing {path}; wait for it, or name another --out. ({system_cause(error)})"
            ) from error
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        replies = _read(whole, path=path)
        file.truncate(len(whole))
        yield Journal(file, path=path, replies=replies)


def _read(content: bytes, *, path: Path) -> dict[Key, Reply]:
    replies: dict[Key, Reply] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            reply = Reply.model_validate_json(line)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(
                f"{path}:{number} is no line of a journal ({reason}); move the file away, or name another --out."
            ) from error
        replies[reply.key] = reply
    return replies
