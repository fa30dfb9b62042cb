"""A registry in a folder: a local disk, or a volume that all nodes mount."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from indexer.errors import InputError
from train.registry.files import copy_hashed, exclusive, hash_file, replace_file
from train.registry.manifest import FileRecord
from train.registry.storage import ChangedError, Held, Stored

LOCK = ".lock"
# File systems give the time in ticks of some milliseconds, and a freed inode's number again: what was written a moment
# ago is read anyway.
_SETTLED_NS = 1_000_000_000


class LocalStorage:
    """Files below a root. Writers hold a lock, readers none: a file is replaced in one step."""

    def __init__(self, root: Path) -> None:
        """Remember the folder; the first write makes it."""
        self._root = root

    @property
    def place(self) -> Path:
        """The root."""
        return self._root

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock; see `Storage`."""
        self._root.mkdir(parents=True, exist_ok=True)
        with exclusive(self._root / LOCK):
            yield

    def read(self, key: str) -> Stored:
        """See `Storage`."""
        stored = self._read(key, unless=None)
        assert stored is not None
        return stored

    def read_changed(self, key: str, tag: str) -> Stored | None:
        """See `Storage`."""
        return self._read(key, unless=tag)

    def _read(self, key: str, *, unless: str | None) -> Stored | None:
        # Opened before it is looked at: NFS asks its server anew at an open, and answers a bare stat from its cache.
        with (self._root / key).open("rb") as file:
            found = os.fstat(file.fileno())
            tag = _tag(found)
            if tag == unless and time.time_ns() - found.st_mtime_ns > _SETTLED_NS:
                return None
            return Stored(file.read(), tag)

    def replace(self, key: str, content: bytes, *, tag: str | None) -> None:
        """See `Storage`."""
        path = self._root / key
        try:
            current = _tag(path.stat())
        except FileNotFoundError:
            current = None
        if current != tag:
            raise ChangedError(key)
        self.write(key, content)

    def write(self, key: str, content: bytes) -> None:
        """See `Storage`."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)

    def put_files(self, folder: str, source: Path, names: Iterable[str]) -> dict[str, FileRecord]:
        """See `Storage`."""
        target = self._root / folder
        target.mkdir(parents=True, exist_ok=True)
        return {name: copy_hashed(source / name, target / name) for name in names}

    def fetch_files(self, folder: str, records: Mapping[str, FileRecord], target: Path) -> dict[str, FileRecord]:
        """See `Storage`."""
        target.mkdir(parents=True, exist_ok=True)
        return {name: copy_hashed(self._root / folder / name, target / name) for name in records}

    def check_files(self, folder: str, names: Iterable[str]) -> dict[str, FileRecord]:
        """See `Storage`."""
        path = self._root / folder
        if path.is_symlink() or not path.resolve().is_relative_to(self._root.resolve()):
            raise InputError(f"{path} lies outside the registry, at {path.resolve()}; publish the adapter again.")
        for name in names:
            if (path / name).is_symlink() or (path / name).is_dir():
                raise InputError(f"{path / name} is a link or a folder; publish the adapter again.")
        return {name: hash_file(path / name) for name in names}

    def names(self, folder: str) -> set[str]:
        """See `Storage`."""
        try:
            return set(os.listdir(self._root / folder))
        except FileNotFoundError:
            return set()

    def held(self, folder: str) -> Iterator[Held]:
        """See `Storage`; a folder with nothing in it is listed itself."""
        for path in _below(self._root / folder):
            with suppress(FileNotFoundError):  # taken away while they are listed
                modified = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
                yield Held(path.relative_to(self._root).as_posix(), modified)

    def delete(self, key: str) -> None:
        """See `Storage`; folders that become empty go too."""
        path = self._root / key
        if path.is_dir() and not path.is_symlink():
            with suppress(FileNotFoundError):
                shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def local_folder(self, folder: str) -> Path:
        """See `Storage`."""
        return self._root / folder


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for parent, folders, files in os.walk(path):
        for name in files if files or folders else ["."]:
            yield Path(parent, name)


def _tag(found: os.stat_result) -> str:
    """A file that was put in place in one step has a number of its own while it and the last one are there."""
    return f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
