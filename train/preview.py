"""Rows as the model reads them in training: which tokens are learned, which only read, which cut off."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from train.data.row import Origin
from train.settings import TrainSettings
from train.token_source import TokenSource, open_tokens
from train.tokens import encode_example

Kind = Literal["learned", "read", "cut"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens next to each other that are treated alike, as text."""

    text: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class PreviewedRow:
    """One row.

    Attributes:
        origin: Where it stands.
        tokens: All of it.
        learned: Those that the loss covers, within max_length.
        pieces: In order.
    """

    origin: Origin
    tokens: int
    learned: int
    pieces: tuple[Piece, ...]


def preview_rows(datasets: Sequence[str], *, settings: TrainSettings, rows: int) -> Iterator[PreviewedRow]:
    """Yield rows of an epoch, spread evenly over it.

    Raises:
        InputError: A dataset or the chat template cannot be used, or the template refuses a row.
        NotFoundError: A dataset or the base model does not exist.
    """
    source = open_tokens(datasets, settings=settings)
    places = np.linspace(0, len(source.examples) - 1, num=min(rows, len(source.examples))).round().astype(int)
    for place in places.tolist():
        yield _row(source, place, max_length=settings.max_length)


def _row(source: TokenSource, place: int, *, max_length: int) -> PreviewedRow:
    example = source.examples[place]
    ids, mask = encode_example(example, tokenizer=source.tokenizer, template=source.template)
    kinds: list[Kind] = [
        "cut" if at >= max_length else "learned" if learned else "read" for at, learned in enumerate(mask.tolist())
    ]
    pieces = []
    for kind, group in itertools.groupby(zip(kinds, ids.tolist(), strict=True), key=lambda pair: pair[0]):
        pieces.append(Piece(source.tokenizer.decode([token for _, token in group]), kind))
    return PreviewedRow(example.origin, len(ids), kinds.count("learned"), tuple(pieces))
