"""Files and folders of this machine as sources."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from indexer.errors import InputError, NotFoundError
from indexer.sources.found import Found
from indexer.sources.media import SNIFF_BYTES
from indexer.sources.patterns import make_spec
from indexer.sources.uris import LocalPlace


def take_local(place: LocalPlace, found: Found) -> None:
    """Take a file, or what is wanted in a folder.

    Raises:
        NotFoundError: The path does not exist.
        InputError: The folder cannot be read, or another root has its name.
    """
    if not place.path.exists():
        raise NotFoundError(f"{place.path} does not exist.")
    path = place.path.resolve()
    root = path if path.is_dir() else path.parent
    found.enter(_name(root), str(root))
    if not path.is_dir():
        _take_file(path, root=root, found=found, named=True)
        return
    try:
        os.scandir(path).close()
    except OSError as error:
        raise InputError(f"Folder {path} cannot be read: {error.strerror}.") from error
    found.folders[_name(root)] = None
    glob = make_spec([place.pattern]) if place.pattern else None
    for entry in _walk(path, found):
        _take_file(Path(entry.path), root=root, found=found, named=False, glob=glob)


def _walk(root: Path, found: Found) -> Iterator[os.DirEntry[str]]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            reason = f"the folder cannot be read: {error.strerror}"
            found.fail(folder.as_uri(), source_id=_source_id(folder, root), reason=reason)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                found.skipped["hidden"] += 1
            elif entry.is_symlink():
                found.skipped["symlink"] += 1
            elif entry.is_dir():
                if found.patterns.shuts_out(Path(entry.path).relative_to(root).as_posix()):
                    found.skipped["excluded"] += 1
                else:
                    pending.append(Path(entry.path))
            elif entry.is_file():
                yield entry
            else:
                found.skipped["unsupported"] += 1


def _take_file(path: Path, *, root: Path, found: Found, named: bool, glob: GitIgnoreSpec | None = None) -> None:
    uri, source_id = path.as_uri(), _source_id(path, root)
    if uri in found.files:
        return
    if not found.patterns.wants(path.relative_to(root).as_posix(), glob=glob):
        found.skipped["excluded"] += 1
        return
    try:
        with path.open("rb") as stream:
            head = stream.read(SNIFF_BYTES)
        size = path.stat().st_size
    except OSError as error:
        found.fail(uri, source_id=source_id, reason=f"the file cannot be read: {error.strerror}")
        return
    found.take(uri, source_id=source_id, head=head, size=size, named=named)


def _source_id(path: Path, root: Path) -> str:
    return f"{_name(root)}/{path.relative_to(root).as_posix()}".encode("utf-8", "replace").decode()


def _name(root: Path) -> str:
    return root.name or "root"
