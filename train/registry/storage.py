"""What a registry asks of the place that keeps it: small objects by key, one of them replaced only where it is known.

A key is a path below the registry, such as `adapters/ropes/3/manifest.json`; keys are made from checked names alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from train.registry.manifest import FileRecord
from train.registry.place import Place


class ChangedError(Exception):
    """Another writer was quicker: the object is not the one that was to be replaced, or is there already."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object.

    Attributes:
        content: Its bytes.
        tag: Names this content of it among all that it ever had; opaque.
    """

    content: bytes
    tag: str


@dataclass(frozen=True, slots=True)
class Held:
    """One object of a listing.

    Attributes:
        key: Its key.
        modified: When it was written.
    """

    key: str
    modified: datetime


class Storage(Protocol):
    """A folder or a bucket. Every method may raise UnavailableError where the place cannot be reached or refuses."""

    @property
    def place(self) -> Place:
        """Where it is, for messages."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other writers out where the place can; where it cannot, `replace` tells.

        Raises:
            ConflictError: Another writer held it for a minute.
        """

    def read(self, key: str) -> Stored:
        """Return an object.

        Raises:
            FileNotFoundError: There is none of this key.
            OSError: It cannot be read, others can.
        """

    def read_changed(self, key: str, tag: str) -> Stored | None:
        """Return an object, or None where it still has this tag; then nothing but its tag is looked at.

        Raises:
            FileNotFoundError: There is none of this key.
            OSError: It cannot be read, others can.
        """

    def replace(self, key: str, content: bytes, *, tag: str | None) -> None:
        """Replace an object in one step, if it still has this tag; None: if there is none. Within `exclusive` only.

        Raises:
            ChangedError: It has another tag, or is there already.
        """

    def write(self, key: str, content: bytes) -> None:
        """Write an object in one step, whatever was there."""

    def put_files(self, folder: str, source: Path, names: Iterable[str]) -> dict[str, FileRecord]:
        """Copy files in below a key, and return the hash and length of what was copied."""

    def fetch_files(self, folder: str, records: Mapping[str, FileRecord], target: Path) -> dict[str, FileRecord]:
        """Copy files out into a folder, and return the hash and length of what was copied.

        No file becomes longer than its record says: of one that is longer at its place, the rest is not read.

        Raises:
            FileNotFoundError: One of them is missing.
            OSError: One of them cannot be read, others can.
        """

    def check_files(self, folder: str, names: Iterable[str]) -> dict[str, FileRecord]:
        """Read every byte of files below a key, and return their hashes and lengths.

        Raises:
            InputError: The folder or a file is no plain one of the place: a link, or something that lies outside.
            FileNotFoundError: One of them is missing.
        """

    def names(self, folder: str) -> set[str]:
        """Return the first parts of all keys below a key, as the names in a folder."""

    def held(self, folder: str) -> Iterator[Held]:
        """List every object below a key, at any depth."""

    def delete(self, key: str) -> None:
        """Take an object out; it may be absent."""

    def local_folder(self, folder: str) -> Path | None:
        """The folder where its files lie on this machine's file system, where they do."""
