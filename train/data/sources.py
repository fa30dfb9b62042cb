"""What a user names as a dataset: files, patterns and objects of a store, each with a weight.

rows.jsonl     more/*.jsonl     s3://bucket/rows.jsonl     rows.jsonl=0.5 (half of its rows)     rows.jsonl=3
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from indexer.errors import InputError, NotFoundError
from indexer.sources.stores import cause, open_source

_WEIGHT = re.compile(r"(?P<place>.+)=(?P<weight>[0-9.eE+-]+)")
_REMOTE = re.compile(r"(s3|gs|az)://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Source:
    """One file of rows.

    Attributes:
        place: Its path or address, as it is shown.
        weight: How often each of its rows is learned from in an epoch; 0.5 is half of them, once.
    """

    place: str
    weight: float = 1.0


def find_sources(given: Sequence[str]) -> tuple[Source, ...]:
    """Return the files that arguments name, in their order, those of a pattern by name.

    Raises:
        InputError: A weight is no number above 0, a file is named twice, or nothing is named.
        NotFoundError: A file is not there, or a pattern matches none.
    """
    sources: dict[str, Source] = {}
    for argument in given:
        place, weight = _split(argument)
        for found in _expand(place):
            if found in sources:
                raise InputError(f"The dataset {found} is named twice; give it a weight instead: {found}=2.")
            sources[found] = Source(found, weight)
    if not sources:
        raise InputError("No dataset is named; give a JSON-lines file.")
    return tuple(sources.values())


@contextmanager
def open_rows(source: Source) -> Iterator[BinaryIO]:
    """Open a source to be read from its start.

    Raises:
        NotFoundError: There is no such file.
        InputError: It cannot be read.
        UnavailableError: Its store cannot be reached.
    """
    try:
        is_remote = _REMOTE.match(source.place) is not None
        with open_source(source.place) if is_remote else Path(source.place).open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no dataset {source.place}; give a JSON-lines file.") from error
    except OSError as error:
        raise InputError(f"The dataset {source.place} cannot be read: {error.strerror or cause(error)}.") from error


def _split(argument: str) -> tuple[str, float]:
    match = _WEIGHT.fullmatch(argument)
    if match is None or Path(argument).exists():
        return argument, 1.0
    try:
        weight = float(match["weight"])
    except ValueError:
        return argument, 1.0
    if not (math.isfinite(weight) and 0 < weight <= 100):
        raise InputError(f"The weight of {match['place']} is {match['weight']}; give a number above 0, up to 100.")
    return match["place"], weight


def _expand(place: str) -> list[str]:
    if _REMOTE.match(place):
        return [place]
    path = Path(place).expanduser().absolute()
    if not _MAGIC.search(place) or path.exists():
        if not path.exists():
            raise NotFoundError(f"There is no dataset {path}; give a JSON-lines file.")
        return [str(path)]
    found = sorted(each for each in glob.glob(str(path), recursive=True) if Path(each).is_file())
    if not found:
        raise NotFoundError(f"No file matches {place}; quote a pattern, and see what it is below.")
    return found
