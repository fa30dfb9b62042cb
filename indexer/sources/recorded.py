"""Files that a collection remembers: read again where a new generation needs documents that no path was given for."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from indexer.run.state import KnownDocument
from indexer.sources.media import SNIFF_BYTES, detect
from indexer.sources.provenance import file_path
from indexer.types import SourceFile


def recorded_files(known: Mapping[str, KnownDocument], *, taken: Container[str]) -> list[SourceFile]:
    """Return the files of stored documents that can still be read, each once, in a stable order.

    Args:
        known: Stored documents by id.
        taken: Source ids of files that are read anyway.
    """
    found: dict[str, SourceFile] = {}
    for document_id, document in sorted(known.items()):
        for uri in document.files:
            place = source_of(document_id, file_path(uri)) if uri.startswith("file://") else None
            if place is None or place[0] in taken or place[0] in found:
                continue
            source_id, root = place
            if (file := _file(uri, root=root, source_id=source_id)) is not None:
                found[source_id] = file
    return list(found.values())


def source_of(document_id: str, path: Path) -> tuple[str, Path] | None:
    """Return the source id and the root of a document's file, or None where the id does not tell them."""
    for place in range(len(path.parts) - 1, 0, -1):
        source_id = "/".join(path.parts[place:]).encode("utf-8", "replace").decode()
        if document_id == source_id or document_id.startswith(f"{source_id}#"):
            return source_id, Path(*path.parts[: place + 1])
    return None


def _file(uri: str, *, root: Path, source_id: str) -> SourceFile | None:
    path = file_path(uri)
    try:
        with path.open("rb") as stream:
            head = stream.read(SNIFF_BYTES)
        size = path.stat().st_size
    except OSError:
        return None  # its documents are counted and named as missing
    media_type = detect(path.name, head)
    if media_type is None:
        return None
    return SourceFile(uri=uri, path=path, media_type=media_type, bytes=size, root=root, source_id=source_id)
