"""Holds on folders of a cache: who reads in one holds it, and only what nobody holds is taken away.

A hold is the kernel's lock on the folder itself (flock(2)). It counts between the threads of a process as between
processes of one machine, stays with a folder that is renamed, and ends with its process, however that ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Hold:
    """A folder that nobody takes away before `release`, or before the end of the block that it is used in."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take what `hold` and `take` have opened and locked."""
        self._path = path
        self._descriptor: int | None = descriptor

    @property
    def path(self) -> Path:
        """Where the folder lies."""
        return self._path

    def rename(self, path: Path) -> None:
        """Give the folder another name; it stays held.

        Raises:
            OSError: It cannot be renamed, as where there is something at the path that is not an empty folder.
        """
        os.rename(self._path, path)
        self._path = path

    def touch(self) -> None:
        """Note that it is used now, as its time of change; one that this user may only read is left as it is.

        Raises:
            OSError: The time cannot be written.
        """
        if self._descriptor is None:
            return
        try:
            os.utime(self._descriptor)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise

    def release(self) -> None:
        """Hold it no more; does nothing the second time."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child process may have a copy of the descriptor
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Hold it for the length of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()


def hold(path: Path) -> Hold | None:
    """Hold a folder together with all others who do.

    Returns:
        None where there is no such folder, or another has just taken it away.

    Raises:
        OSError: It is no folder, may not be read, or its file system has no locks.
    """
    return _locked(path, fcntl.LOCK_SH)


def take(path: Path) -> Hold | None:
    """Hold a folder alone, in order to take it away.

    Returns:
        None where somebody holds it, or there is no such folder.

    Raises:
        OSError: It is no folder, may not be read, or its file system has no locks.
    """
    return _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)


def aside(path: Path) -> Path:
    """A free name beside a folder, for what is not in place yet or no more."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def make_aside(path: Path) -> Hold:
    """Make an empty folder beside `path`, held.

    Raises:
        OSError: It cannot be made.
    """
    while True:
        folder = aside(path)
        folder.mkdir()
        held = hold(folder)
        if held is not None:  # None: it was taken for a leftover in the moment between
            return held


def _locked(path: Path, how: int) -> Hold | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, how)
        in_place = os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        in_place = False
    except BaseException:
        os.close(descriptor)
        raise
    if not in_place:
        os.close(descriptor)
        return None
    return Hold(path, descriptor)
