"""Brings a cache of versions down to its size; safe beside other processes that fetch into the folder or prune it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import system_cause
from train.registry.cache_eviction import CachedVersion, choose_evicted
from train.registry.holding import aside, take
from train.registry.names import is_name

# What `cache` and `holding.aside` call their folders; nothing else below the cache's folder is ever touched.
_PLACE = re.compile(r"[0-9a-f]{12}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}-[0-9a-f]{12}")
_ASIDE = re.compile(rf"\.{_VERSION.pattern}\.[0-9a-f]{{32}}")


@dataclass(frozen=True, slots=True)
class Failure:
    """A folder that could not be read or deleted.

    Attributes:
        path: The folder.
        cause: Why, in the system's words.
    """

    path: Path
    cause: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning did.

    Attributes:
        removed: Versions that went, the least recently used first.
        failed: What could not be read or deleted; the next pruning tries again.
        kept_bytes: Bytes of the versions that are left.
    """

    removed: tuple[CachedVersion, ...] = ()
    failed: tuple[Failure, ...] = ()
    kept_bytes: int = 0


def prune(root: Path, *, max_bytes: int) -> Pruned | None:
    """Delete the least recently used versions of a cache until it has `max_bytes`, and what dead processes left.

    A version is renamed in one step before its files go, so that nobody finds a part of it. What a process holds stays.

    Args:
        root: The cache's folder, with the versions of all registries that share it.
        max_bytes: Bytes of versions that may stay.

    Returns:
        What was done; None where another process prunes the folder at this moment.
    """
    failed: list[Failure] = []
    try:
        if not root.is_dir():
            return Pruned()
        alone = take(root)
        if alone is None:
            return None
        with alone:
            versions, leftovers = _look(root)
            for leftover in leftovers:
                _remove(leftover, failed, rename=False)
            removed = tuple(
                version
                for version in choose_evicted(versions, max_bytes=max_bytes)
                if _remove(version.path, failed, rename=True)
            )
    except OSError as error:
        return Pruned(failed=(*failed, _failure(root, error)))
    kept = sum(version.bytes for version in versions) - sum(version.bytes for version in removed)
    return Pruned(removed, tuple(failed), kept)


def _remove(folder: Path, failed: list[Failure], *, rename: bool) -> bool:
    """Delete a folder that nobody holds; False where it still is in its place."""
    gone = False
    try:
        taken = take(folder)
        if taken is None:
            return False
        with taken:
            if rename:
                taken.rename(aside(folder))
            gone = True
            shutil.rmtree(taken.path)
    except OSError as error:
        failed.append(_failure(folder, error))
    return gone


def _look(root: Path) -> tuple[list[CachedVersion], list[Path]]:
    versions: list[CachedVersion] = []
    leftovers: list[Path] = []
    for place in _folders(root):
        if not _PLACE.fullmatch(place.name):
            continue
        for name in _folders(place):
            if not is_name(name.name):
                continue
            for folder in _folders(name):
                if _ASIDE.fullmatch(folder.name):
                    leftovers.append(folder)
                elif _VERSION.fullmatch(folder.name):
                    with suppress(FileNotFoundError):  # taken away by hand while they are listed
                        versions.append(_version(folder))
    return versions, leftovers


def _folders(parent: Path) -> Iterator[Path]:
    with os.scandir(parent) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _version(folder: Path) -> CachedVersion:
    with os.scandir(folder) as entries:
        size = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    probe = take(folder)
    if probe is not None:
        probe.release()
    return CachedVersion(folder, size, folder.lstat().st_mtime, held=probe is None)


def _failure(folder: Path, error: OSError) -> Failure:
    return Failure(folder, system_cause(error))
