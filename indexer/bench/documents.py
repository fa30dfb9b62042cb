"""The documents of a measurement: a copy of some files, so that one of them may be changed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from indexer.errors import InputError
from indexer.sources.uris import LocalPlace, parse_place
from indexer.types import SourceFile

_ADDED = "\nMeasurement {number} added this line.\n"


def spread(files: Sequence[SourceFile], count: int | None) -> list[SourceFile]:
    """Return `count` files at even distances, or all."""
    if count is None or count >= len(files):
        return list(files)
    return [files[position * len(files) // count] for position in range(count)]


def copy_to(folder: Path, files: Sequence[SourceFile]) -> list[Path]:
    """Copy files to where their ids say, and return the copies.

    Raises:
        InputError: A file is not on this machine.
    """
    copies: list[Path] = []
    for file in files:
        place = parse_place(file.uri)
        if not isinstance(place, LocalPlace):
            raise InputError(f"{file.uri} is in a bucket; a measurement takes files of this machine, to change a copy.")
        copy = folder / file.source_id
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place.path, copy)
        copies.append(copy)
    return copies


def changeable(files: Sequence[SourceFile], copies: Sequence[Path]) -> Path | None:
    """Return the copy of middle size of those that a line of text may be added to, or None."""
    texts = [copy for file, copy in zip(files, copies, strict=True) if file.media_type.startswith("text/")]
    return sorted(texts, key=lambda copy: (copy.stat().st_size, copy))[len(texts) // 2] if texts else None


def change(path: Path, *, number: int) -> None:
    """Add a line of text to a file."""
    with path.open("a") as file:
        file.write(_ADDED.format(number=number))
