"""Reads whole datasets: every row that can be used, and every line that cannot, with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.errors import InputError
from train.data.parsing import BadLineError, parse_line
from train.data.row import BadRow, Example, Origin
from train.data.sources import Source, open_rows

_LISTED = 20


@dataclass(frozen=True, slots=True)
class SourceRows:
    """What one source holds.

    Attributes:
        source: The source.
        examples: Its rows, in their order.
        bad: Lines that are no rows, in their order.
        sha256: Hex digest of its bytes.
    """

    source: Source
    examples: tuple[Example, ...]
    bad: tuple[BadRow, ...]
    sha256: str


def read_source(source: Source) -> SourceRows:
    """Read a file of JSON objects, one a line; empty lines count for nothing.

    Raises:
        NotFoundError: There is no such file.
        InputError: It cannot be read.
        UnavailableError: Its store cannot be reached.
    """
    examples: list[Example] = []
    bad: list[BadRow] = []
    digest = hashlib.sha256()
    with open_rows(source) as file:
        for number, line in enumerate(file, start=1):
            digest.update(line)
            if not line.strip():
                continue
            origin = Origin(source.place, number)
            try:
                examples.append(parse_line(line, origin=origin))
            except BadLineError as reason:
                bad.append(BadRow(origin, str(reason)))
    return SourceRows(source, tuple(examples), tuple(bad), digest.hexdigest())


def read_dataset(sources: Sequence[Source]) -> tuple[SourceRows, ...]:
    """Read all sources, for a run that needs every row.

    Raises:
        NotFoundError: A file is not there.
        InputError: A file cannot be read or has no rows, or lines are bad: all are counted, the first 20 listed.
        UnavailableError: A store cannot be reached.
    """
    read = tuple(read_source(source) for source in sources)
    bad = [row for rows in read for row in rows.bad]
    total = len(bad) + sum(len(rows.examples) for rows in read)
    if bad:
        raise InputError(f"{len(bad)} of {total} rows cannot be trained on; correct or remove them:\n{listed(bad)}")
    empty = [rows.source.place for rows in read if not rows.examples]
    if empty:
        raise InputError(f"The dataset {empty[0]} holds no rows; give one JSON object with `messages` a line.")
    return read


def listed(bad: Sequence[BadRow]) -> str:
    """The first bad rows, a line each, and how many more there are."""
    lines = [f"  {row.origin}: {row.reason}" for row in bad[:_LISTED]]
    if len(bad) > _LISTED:
        lines.append(f"  and {len(bad) - _LISTED} more")
    return "\n".join(lines)
