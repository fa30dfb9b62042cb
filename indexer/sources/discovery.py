"""Find the files to index, on the driver, before any Ray work."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.errors import InputError, NotFoundError
from indexer.parsers import EXTENSIONS
from indexer.sources.media import SNIFF_BYTES, detect, why_not
from indexer.types import FailedDocument, SourceFile


@dataclass(frozen=True, slots=True)
class Discovery:
    """What lies under the given paths.

    Attributes:
        files: Files to index, in a stable order, each once.
        failures: Files and folders that could not be looked at.
        skipped: Number of entries left out, by reason: `hidden`, `symlink`, `unsupported`.
        folders: Names of the folder roots, in whose documents a missing file counts as vanished.
        unreadable: Source ids of the failures, whose documents have not vanished.
    """

    files: tuple[SourceFile, ...]
    failures: tuple[FailedDocument, ...]
    skipped: dict[str, int]
    folders: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(slots=True)
class _Found:
    files: dict[Path, SourceFile] = field(default_factory=dict)
    failures: list[FailedDocument] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)

    def fail(self, path: Path, *, root: Path, reason: str) -> None:
        self.failures.append(FailedDocument(uri=path.as_uri(), stage="discover", reason=reason))
        self.unreadable.append(_source_id(path, root))


def discover(paths: Sequence[Path]) -> Discovery:
    """List the files under `paths`.

    Folders are walked to any depth. Hidden entries (a leading dot) and symbolic links inside a folder are left out and
    counted: links would index a file twice or leave the folder. A path given by name is taken even if it is hidden or
    a link. A file of a format that no parser reads is counted inside a folder, and a failure when given by name.

    Raises:
        NotFoundError: A path does not exist.
        InputError: A folder cannot be read, nothing to index is there, or two roots would share document ids.
    """
    if not paths:
        raise InputError("No path to index was given.")
    found = _Found()
    roots: dict[str, Path] = {}
    folders: list[str] = []
    for given in paths:
        path = given.expanduser()
        if not path.exists():
            raise NotFoundError(f"{given} does not exist.")
        path = path.resolve()
        root = path if path.is_dir() else path.parent
        name = root.name or "root"
        if roots.setdefault(name, root) != root:
            raise InputError(
                f"{roots[name]} and {root} have the same name, so their documents would share ids; "
                "index them into different collections, or their parent folder once."
            )
        if path.is_dir():
            folders.append(name)
            _take_folder(path, found)
        else:
            _take_file(path, root=root, found=found, named=True)
    if not found.files and not found.failures:
        raise InputError(_nothing(paths, found.skipped))
    files = tuple(sorted(found.files.values(), key=lambda file: file.source_id))
    return Discovery(
        files=files,
        failures=tuple(found.failures),
        skipped=dict(found.skipped),
        folders=tuple(dict.fromkeys(folders)),
        unreadable=tuple(found.unreadable),
    )


def _take_folder(root: Path, found: _Found) -> None:
    try:
        os.scandir(root).close()
    except OSError as error:
        raise InputError(f"Folder {root} cannot be read: {error.strerror}.") from error
    for entry in _walk(root, found):
        _take_file(Path(entry.path), root=root, found=found, named=False)


def _walk(root: Path, found: _Found) -> Iterator[os.DirEntry[str]]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            found.fail(folder, root=root, reason=f"the folder cannot be read: {error.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                found.skipped["hidden"] += 1
            elif entry.is_symlink():
                found.skipped["symlink"] += 1
            elif entry.is_dir():
                pending.append(Path(entry.path))
            elif entry.is_file():
                yield entry
            else:
                found.skipped["unsupported"] += 1


def _take_file(path: Path, *, root: Path, found: _Found, named: bool) -> None:
    if path in found.files:
        return
    try:
        with path.open("rb") as stream:
            head = stream.read(SNIFF_BYTES)
        size = path.stat().st_size
    except OSError as error:
        found.fail(path, root=root, reason=f"the file cannot be read: {error.strerror}")
        return
    media_type = detect(path.name, head)
    if media_type is None:
        if named:
            found.fail(path, root=root, reason=why_not(head))
        else:
            found.skipped["unsupported"] += 1
        return
    found.files[path] = SourceFile(
        uri=path.as_uri(),
        path=path,
        media_type=media_type,
        bytes=size,
        root=root,
        source_id=_source_id(path, root),
    )


def _source_id(path: Path, root: Path) -> str:
    relative = f"{root.name or 'root'}/{path.relative_to(root).as_posix()}"
    return relative.encode("utf-8", "replace").decode()


def _nothing(paths: Sequence[Path], skipped: Counter[str]) -> str:
    where = ", ".join(str(path) for path in paths)
    if not skipped:
        return f"{where} holds no files; give a folder with documents ({_supported()})."
    counts = ", ".join(f"{number} {reason}" for reason, number in sorted(skipped.items()))
    return f"{where} holds nothing to index ({counts} left out); supported are {_supported()}."


def _supported() -> str:
    return " ".join(sorted(EXTENSIONS))
