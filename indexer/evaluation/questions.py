"""Questions with known answers, for `collections evaluate` and for `index --questions`: one JSON object a line, every
line checked before any work starts.

{"question": "How long is the hawser?", "gold": ["handbook/ropes.md"]}
{"question": "Who trims the lamp?", "gold": [{"document": "handbook/lamps.md", "heading": "Red lamp"}], "split": "dev"}
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexer.errors import InputError, NotFoundError, from_system
from indexer.types import ChunkPlace

Split = Literal["dev", "test"]
Unit = Literal["chunk", "document"]

DEV_SHARE = 1 / 3  # of the questions that name no split: the more are left to report on, the narrower the intervals
_SHOWN = 3

_Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class Section(BaseModel):
    """Every chunk of a document that lies under a heading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: _Text
    heading: _Text


class Question(BaseModel):
    """One line of a file of questions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: _Text
    gold: tuple[_Text | Section, ...] = Field(min_length=1)
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A question and what answers it in one collection.

    Attributes:
        text: The question.
        split: `dev`, on which weights are chosen, or `test`, on which they are judged.
        unit: What is ranked: chunks, or whole documents, each at the place of its first chunk.
        relevant: Ids of the chunks or documents that answer it.
    """

    text: str
    split: Split
    unit: Unit
    relevant: frozenset[str]


def read_questions(path: Path) -> list[tuple[int, Question]]:
    """Return the questions of a file with the numbers of their lines.

    Raises:
        NotFoundError: No such file.
        InputError: Not text, no question, or lines that do not fit; names them.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFoundError(f"The file of questions {path} does not exist; check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The file of questions {path} is not UTF-8 text ({error.reason}); convert it.") from error
    except OSError as error:
        raise from_system(error) from error
    questions: list[tuple[int, Question]] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            questions.append((number, Question.model_validate_json(line)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the line"
            problems.append(f"line {number}: {field}: {first['msg']}")
    _refuse(path, problems, "a line is {question, gold, split?}, gold a list of ids or of {document, heading}")
    if not questions:
        raise InputError(f"The file of questions {path} is empty; write one JSON object a line, question and gold.")
    return questions


def judge(
    questions: Sequence[tuple[int, Question]], places: Iterable[ChunkPlace], *, path: Path, collection: str
) -> list[Judged]:
    """Find what the questions name among the chunks of a collection.

    Raises:
        InputError: Something named is not in the collection, or a question mixes documents with parts of them; the
            lines are named.
    """
    index = GoldIndex(places)
    judged: list[Judged] = []
    problems: list[str] = []
    for number, question in questions:
        units = {index.unit(gold) for gold in question.gold}
        missing = [_name(gold) for gold in question.gold if not index.find(gold)]
        if missing:
            problems.append(f"line {number}: {missing[0]} is not in collection {collection!r}")
        elif len(units) > 1:
            problems.append(f"line {number}: gold names whole documents and parts of documents; name one kind")
        else:
            judged.append(
                Judged(
                    text=question.question,
                    split=question.split or split_of(question.question),
                    unit=units.pop(),
                    relevant=index.relevant(question),
                )
            )
    _refuse(path, problems, "`graftwork search ... --json` shows ids and headings as they are stored")
    return judged


def split_of(text: str) -> Split:
    """Return the split of a question that names none: the same for the same text, in any file."""
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return "dev" if share < DEV_SHARE else "test"


class GoldIndex:
    """What a collection holds, by all that a question may name: ids of documents and chunks, headings."""

    def __init__(self, places: Iterable[ChunkPlace]) -> None:
        self._chunks: set[str] = set()
        self._documents: set[str] = set()
        self._sections: dict[tuple[str, str], set[str]] = defaultdict(set)
        for place in places:
            self._chunks.add(place.chunk_id)
            self._documents.add(place.document_id)
            for heading in place.heading_path:
                self._sections[place.document_id, _spaced(heading)].add(place.chunk_id)

    def unit(self, gold: str | Section) -> Unit:
        """Return whether this names a whole document or chunks."""
        return "document" if isinstance(gold, str) and gold in self._documents else "chunk"

    def find(self, gold: str | Section) -> frozenset[str]:
        """Return the ids of what this names: a document's or chunks'; empty if there is no such thing."""
        if isinstance(gold, Section):
            return frozenset(self._sections.get((gold.document, _spaced(gold.heading)), ()))
        return frozenset([gold]) if gold in self._documents or gold in self._chunks else frozenset()

    def relevant(self, question: Question) -> frozenset[str]:
        """Return the ids of all that answers a question, of documents and chunks."""
        return frozenset[str]().union(*(self.find(gold) for gold in question.gold))


def _spaced(heading: str) -> str:
    return " ".join(heading.split())


def _name(gold: str | Section) -> str:
    return repr(gold) if isinstance(gold, str) else f"heading {gold.heading!r} of document {gold.document!r}"


def _refuse(path: Path, problems: Sequence[str], advice: str) -> None:
    if problems:
        more = f"; and {len(problems) - _SHOWN} more lines" if len(problems) > _SHOWN else ""
        raise InputError(f"{path}: {'; '.join(problems[:_SHOWN])}{more}: {advice}.")
