"""Find the files to index, on the driver, before any Ray work."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import InputError
from indexer.sources.buckets import take_objects
from indexer.sources.folders import take_local
from indexer.sources.found import Found
from indexer.sources.lists import read_lists
from indexer.sources.media import supported
from indexer.sources.patterns import make_patterns
from indexer.sources.uris import Bucket, BucketPlace, LocalPlace, parse_place
from indexer.types import FailedDocument, SourceFile


@dataclass(frozen=True, slots=True)
class Discovery:
    """What lies under the given paths.

    Attributes:
        files: Files to index, in a stable order, each once.
        failures: Files and folders that could not be looked at.
        skipped: Number of entries left out, by reason: `hidden`, `symlink`, `excluded`, `unsupported`.
        folders: Id prefixes of the folders, in whose documents a missing file counts as vanished.
        unreadable: Source ids of the failures, whose documents have not vanished.
        left_out: URIs of objects that are there but are not indexed, so that they need not be asked for again.
        gone: URIs of files that were asked for again and are not there any more.
        seconds: How long it took.
    """

    files: tuple[SourceFile, ...]
    failures: tuple[FailedDocument, ...]
    skipped: dict[str, int]
    folders: tuple[str, ...]
    unreadable: tuple[str, ...]
    left_out: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    seconds: float = 0.0


def discover(
    given: Sequence[str | Path],
    *,
    lists: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Discovery:
    """List the files that are named and those below folders, patterns and prefixes.

    Folders are walked to any depth. Hidden entries (a leading dot) and symbolic links inside a folder are left out and
    counted: links would index a file twice or leave the folder. A path given by name is taken even if it is hidden or
    a link. A file of a format that no parser reads is counted inside a folder, and a failure when given by name.

    Args:
        given: Paths, patterns of paths (`docs/**/*.md`) and URIs.
        lists: Text files with more of them, one per line; `-` is standard input.
        include: Patterns as in a `.gitignore`; where there are some, a file must match one. They and `exclude` are
            relative to the folder or prefix that was given, and apply to files given by name too.
        exclude: Patterns of files and folders that are left out.

    Raises:
        NotFoundError: A path, bucket, object or list does not exist.
        InputError: A folder cannot be read, a URI or pattern is none, nothing to index is there, or two roots would
            share document ids.
        UnavailableError: An object store cannot be reached, or refuses.
    """
    began = time.perf_counter()
    found = Found(make_patterns(include=include, exclude=exclude))
    named = [*given, *read_lists(lists)]
    if not named:
        raise InputError("No path to index was given.")
    account = os.environ.get("AZURE_STORAGE_ACCOUNT") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    places = [parse_place(name, azure_account=account) for name in named]
    in_buckets: dict[Bucket, list[BucketPlace]] = {}
    for place in places:
        if isinstance(place, LocalPlace):
            take_local(place, found)
        else:
            in_buckets.setdefault(place.bucket, []).append(place)
    for bucket, theirs in in_buckets.items():
        take_objects(bucket, theirs, found)
    if not found.files and not found.failures:
        raise InputError(_nothing(named, found.skipped))
    return Discovery(
        files=tuple(sorted(found.files.values(), key=lambda file: file.source_id)),
        failures=tuple(found.failures),
        skipped=dict(found.skipped),
        folders=tuple(found.folders),
        unreadable=tuple(found.unreadable),
        left_out=frozenset(found.left_out),
        seconds=time.perf_counter() - began,
    )


def _nothing(named: Sequence[str | Path], skipped: Counter[str]) -> str:
    where = ", ".join(str(name) for name in named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    if not skipped:
        return f"{where} holds no files; give a folder with documents ({supported()})."
    counts = ", ".join(f"{number} {reason}" for reason, number in sorted(skipped.items()))
    return f"{where} holds nothing to index ({counts} left out); supported are {supported()}."
