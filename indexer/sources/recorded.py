"""Files that a collection remembers: those of its documents, and those that failed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Container, Mapping, Sequence

from indexer.run.state import KnownDocument
from indexer.sources.discovery import Discovery
from indexer.sources.media import SNIFF_BYTES, detect
from indexer.sources.provenance import existing_files
from indexer.sources.stores import open_source
from indexer.sources.uris import file_path, is_file_uri, is_source_uri, parse_object
from indexer.store.letters import DeadLetter
from indexer.types import FailedDocument, SourceFile


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


def failed_files(letters: Sequence[DeadLetter]) -> Discovery:
    """Return the files of dead letters as sources of a run: those that are there, those that are gone.

    Raises:
        UnavailableError: An object store cannot be reached.
    """
    began = time.perf_counter()
    files: dict[str, SourceFile] = {}
    failures: list[FailedDocument] = []
    for letter in {letter.file: letter for letter in letters}.values():
        if (file := _file(letter.file, source_id=letter.source_id)) is not None:
            files[letter.source_id] = file
    absent = {letter.file for letter in letters if letter.source_id not in files}
    there = existing_files(absent)
    for letter in letters:
        if letter.file in there:
            failures.append(FailedDocument(letter.uri, letter.stage, letter.reason, letter.file, letter.source_id))
    return Discovery(
        files=tuple(sorted(files.values(), key=lambda file: file.source_id)),
        failures=tuple(failures),
        skipped={"gone": len(absent - there)} if absent - there else {},
        folders=(),
        unreadable=tuple(sorted({failure.source_id for failure in failures})),
        gone=frozenset(absent - there),
        seconds=time.perf_counter() - began,
    )


def folders_are_here(document_id: str, files: Collection[str]) -> bool:
    """Tell whether the root folders that a document's files lay in are there for this process; buckets always are."""
    return all(not is_file_uri(uri) or _root_is_here(document_id, uri) for uri in files)


def _root_is_here(document_id: str, uri: str) -> bool:
    source_id = source_of(document_id, uri)
    return source_id is not None and file_path(uri).parents[source_id.count("/") - 1].is_dir()


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
