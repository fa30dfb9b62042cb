"""Files that a collection remembers: read again where a new generation needs documents that no path was given for."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping

from indexer.run.state import KnownDocument
from indexer.sources.media import SNIFF_BYTES, detect
from indexer.sources.stores import open_source
from indexer.sources.uris import file_path, is_file_uri, is_source_uri, parse_object
from indexer.types import SourceFile


def recorded_files(known: Mapping[str, KnownDocument], *, taken: Container[str]) -> list[SourceFile]:
    """Return the files of stored documents that can still be read, each once, in a stable order.

    Args:
        known: Stored documents by id.
        taken: Source ids of files that are read anyway.

    Raises:
        UnavailableError: An object store cannot be reached.
    """
    found: dict[str, SourceFile] = {}
    for document_id, document in sorted(known.items()):
        for uri in document.files:
            source_id = source_of(document_id, uri) if is_source_uri(uri) else None
            if source_id is None or source_id in taken or source_id in found:
                continue
            if (file := _file(uri, source_id=source_id)) is not None:
                found[source_id] = file
    return list(found.values())


def source_of(document_id: str, uri: str) -> str | None:
    """Return the source id of a document's file, or None where the document's id does not tell it."""
    for source_id in _source_ids(uri):
        if document_id == source_id or document_id.startswith(f"{source_id}#"):
            return source_id
    return None


def _source_ids(uri: str) -> list[str]:
    """Return what the source id may be: a file's depends on the folder that was given once."""
    if not is_file_uri(uri):
        bucket, key = parse_object(uri)
        return [f"{bucket.name}/{key}"]
    parts = file_path(uri).parts
    return ["/".join(parts[place:]).encode("utf-8", "replace").decode() for place in range(len(parts) - 1, 0, -1)]


def _file(uri: str, *, source_id: str) -> SourceFile | None:
    try:
        with open_source(uri) as stream:
            head = stream.read(SNIFF_BYTES)
            size = stream.seek(0, os.SEEK_END)
    except OSError:
        return None  # its documents are counted and named as missing
    media_type = detect(source_id.rpartition("/")[2], head)
    return None if media_type is None else SourceFile(uri=uri, media_type=media_type, bytes=size, source_id=source_id)
