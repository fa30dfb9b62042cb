"""What PEFT and the engine are both asked about an adapter, and what each of them says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter

from train.answering import answered_rows, last_answer
from train.tokens import TokenRows

Side = Literal["peft", "engine"]
Device = Literal["cpu", "gpu"]
Tokens = tuple[int, ...]
Scores = tuple[tuple[float, ...], ...]

# Enough for hundreds of tokens to compare, and seconds on one core for a model of 135 million parameters.
_ROWS, _ROW_TOKENS = 8, 128
_PROMPTS, _WRITTEN = 4, 16


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """What is scored and what is gone on with.

    Attributes:
        scored: Token ids of rows, two at least each, whose tokens get log-probabilities.
        prompts: Token ids of prompts that are answered greedily.
        written: Tokens of each answer.
    """

    scored: tuple[Tokens, ...]
    prompts: tuple[Tokens, ...]
    written: int = _WRITTEN

    @property
    def longest(self) -> int:
        """Tokens that a model must take at once."""
        return max([0, *map(len, self.scored), *(len(prompt) + self.written for prompt in self.prompts)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one side is asked, in a process of its own.

    Attributes:
        base: Folder of the base model.
        adapter: Folder of the adapter.
        rank: Its rank.
        dtype: Number type of weights and arithmetic.
        device: Where it runs.
        threads: Threads of the arithmetic on a CPU.
        rows: The tokens.
    """

    base: Path
    adapter: Path
    rank: int
    dtype: str
    device: Device
    threads: int
    rows: ProbeRows


@dataclass(frozen=True, slots=True)
class Reading:
    """What one side says.

    Attributes:
        base: Log-probability of every token of the scored rows but the first, without the adapter.
        adapter: The same with it.
        written: Its greedy answers to the prompts, with the adapter.
        margins: By how much of log-probability the best token was ahead at each of their tokens; PEFT's alone.
    """

    # An adapter that is broken may score nan, which JSON itself has no word for.
    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    base: Scores
    adapter: Scores
    written: tuple[Tokens, ...]
    margins: Scores = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a side said nothing.

    Attributes:
        side: Which one.
        doing: What it was about, as a part of a sentence: "load the adapter".
        reason: What came of it.
        advice: What to do, as a part of a sentence; empty where nothing more is known.
    """

    side: Side
    doing: str
    reason: str
    advice: str = ""


Document = TypeVar("Document", Probe, Reading, Failed)


def write_document(path: Path, document: Probe | Reading | Failed) -> None:
    """Write one of these as JSON."""
    path.write_bytes(TypeAdapter(type(document)).dump_json(document))


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read what `write_document` wrote; pydantic's ValidationError where it is another."""
    return TypeAdapter(kind).validate_json(path.read_bytes())


def probe_rows(rows: TokenRows) -> ProbeRows:
    """Choose rows, spread evenly, cut to their first tokens; what stands before the last answer of some is a prompt."""
    scored: list[Tokens] = []
    prompts: list[Tokens] = []
    for row in answered_rows(len(rows), most=_ROWS):
        ids, supervised = rows.row(row)
        scored.append(_plain(ids[:_ROW_TOKENS]))
        split = last_answer(ids, supervised)
        if split is not None and len(prompts) < _PROMPTS:
            prompts.append(_plain(split[0][:_ROW_TOKENS]))
    return ProbeRows(tuple(row for row in scored if len(row) > 1), tuple(prompts))


def _plain(ids: NDArray[np.int32]) -> Tokens:
    return tuple(ids.tolist())
