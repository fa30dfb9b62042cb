"""Writing so that a reader sees the old content or the new one, and nothing else."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.errors import ConflictError
from train.registry.manifest import FileRecord

_BLOCK_BYTES = 1 << 20
_LOCK_SECONDS = 60.0


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file beside `path`, flush it to disk, then put it in place in one step.

    Args:
        path: The file to replace.
        content: Its new content.
        mode: Its permissions, less the umask.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb", opener=partial(os.open, mode=mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def copy_hashed(source: Path, target: Path) -> FileRecord:
    """Copy a file, flush it to disk, and return the hash and length of what was copied."""
    digest, length = hashlib.sha256(), 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(_BLOCK_BYTES):
            digest.update(block)
            length += writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return FileRecord(sha256=digest.hexdigest(), bytes=length)


def hash_file(path: Path) -> FileRecord:
    """Return the hash and length of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileRecord(sha256=digest.hexdigest(), bytes=file.tell())


@contextmanager
def exclusive(lock_file: Path, *, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of a registry against other writers, in this process and in others.

    Raises:
        ConflictError: Another writer held it for longer than `seconds`.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise ConflictError(
            f"Another writer has held {lock_file} for {seconds:g} seconds; wait for it, or end it, and try again."
        ) from error
    try:
        yield
    finally:
        lock.release()
