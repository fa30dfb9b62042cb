"""Which file a stored document came from, and whether that file is still there: two folders of one name share ids."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence

from pyarrow import fs

from indexer.errors import ConflictError, NotFoundError
from indexer.run.state import Moved
from indexer.sources.stores import look_at, same_object
from indexer.sources.uris import Bucket, file_path, is_file_uri, is_source_uri, parse_object

URI_MAX_BYTES = 2048
FILE_FIELD = "graftwork.file"  # in a row's metadata, where the row's own URI does not tell the file
FORMER_FIELD = "graftwork.former"  # likewise, of a renamed document: the id that it had before


def with_file(metadata: Sequence[tuple[str, str]], *, uri: str, file: str) -> tuple[tuple[str, str], ...]:
    """Return a document's metadata, with its file's URI where the document's does not tell it.

    Args:
        metadata: What the document says.
        uri: The document's own address.
        file: URI of the file that holds it.
    """
    kept = tuple(pair for pair in metadata if pair[0] not in (FILE_FIELD, FORMER_FIELD))
    told = uri.partition("#")[0] == file and len(uri.encode("utf-8", "replace")) <= URI_MAX_BYTES
    return kept if told else (*kept, (FILE_FIELD, file))


def stored_file(uri: str, metadata: object) -> str | None:
    """Return the URI of the file that a row came from; None for a row that does not tell."""
    if file := _field(metadata, FILE_FIELD):
        return file
    return uri.partition("#")[0] if is_source_uri(uri) else None


def stored_former(metadata: object) -> str | None:
    """Return the id that a row's document had before it was renamed; None for one that was not."""
    return _field(metadata, FORMER_FIELD)


def _field(metadata: object, name: str) -> str | None:
    fields = json.loads(metadata) if isinstance(metadata, str | bytes) else metadata
    value = fields.get(name) if isinstance(fields, Mapping) else None
    return str(value) if value else None


def existing_files(uris: Collection[str], *, listed: Collection[str] = frozenset()) -> frozenset[str]:
    """Return those of some files that are there; one that cannot be looked at is not gone.

    Args:
        uris: URIs of files and objects.
        listed: Some that are known to be there.

    Raises:
        UnavailableError: An object store cannot be reached or refuses the question.
    """
    there = {uri for uri in uris if uri in listed or (is_file_uri(uri) and _file_exists(uri))}
    keys_by_bucket: dict[Bucket, dict[str, str]] = {}
    for uri in uris:
        if uri not in listed and not is_file_uri(uri):
            bucket, key = parse_object(uri)
            keys_by_bucket.setdefault(bucket, {})[key] = uri
    for bucket, keys in keys_by_bucket.items():
        try:
            infos = look_at(bucket, list(keys))
        except NotFoundError:
            there |= set(keys.values())
            continue
        there |= {uri for uri, info in zip(keys.values(), infos, strict=True) if info.type == fs.FileType.File}
    return frozenset(there)


def _file_exists(uri: str) -> bool:
    try:
        file_path(uri).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def check_owners(moved: Sequence[Moved], *, collection: str) -> None:
    """Refuse to replace the rows of another file that still exists.

    A folder that was moved, or cloned elsewhere after the old one was removed, keeps its documents.

    Raises:
        ConflictError: There are such rows; both files are named.
        UnavailableError: An object store cannot be reached, so that it cannot be told.
    """
    there = existing_files({document.stored for document in moved})
    taken = [document for document in moved if document.stored in there and not _same_file(document)]
    if not taken:
        return
    first, others = taken[0], len(taken) - 1
    more = f" (so would {others} more)" if others else ""
    raise ConflictError(
        f"{_shown(first.now)} has the id {first.document_id!r}, under which collection {collection!r} holds "
        f"{_shown(first.stored)}, a file that still exists, and would replace it{more}; "
        "index one of the two folders into another collection, or their parent folder once."
    )


def _same_file(document: Moved) -> bool:
    if is_file_uri(document.stored) != is_file_uri(document.now):
        return False
    if not is_file_uri(document.now):
        return same_object(document.stored, document.now)
    try:
        return os.path.samefile(file_path(document.stored), file_path(document.now))
    except OSError:
        return False


def _shown(uri: str) -> str:
    return str(file_path(uri)) if is_file_uri(uri) else uri
