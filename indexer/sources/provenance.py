"""Which file a stored document came from, and whether that file is still there: two folders of one name share ids."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from indexer.errors import ConflictError
from indexer.run.state import Moved

URI_MAX_BYTES = 2048
FILE_FIELD = "graftwork.file"  # in a row's metadata, where the row's own URI does not tell the file


def with_file(metadata: Sequence[tuple[str, str]], *, uri: str, file: str) -> tuple[tuple[str, str], ...]:
    """Return a document's metadata, with its file's URI where the document's does not tell it.

    Args:
        metadata: What the document says.
        uri: The document's own address.
        file: URI of the file that holds it.
    """
    kept = tuple(pair for pair in metadata if pair[0] != FILE_FIELD)
    told = uri.partition("#")[0] == file and len(uri.encode("utf-8", "replace")) <= URI_MAX_BYTES
    return kept if told else (*kept, (FILE_FIELD, file))


def stored_file(uri: str, metadata: object) -> str | None:
    """Return the URI of the file that a row came from; None for a row that does not tell."""
    fields = json.loads(metadata) if isinstance(metadata, str | bytes) else metadata
    if isinstance(fields, Mapping) and (file := fields.get(FILE_FIELD)):
        return str(file)
    return uri.partition("#")[0] if uri.startswith("file://") else None


def file_path(uri: str) -> Path:
    """Return the path in a `file://` URI; names that are not UTF-8 come back as they were."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def file_exists(uri: str) -> bool:
    """Tell whether a file is there; one that cannot be looked at is not gone."""
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
    """
    taken = [document for document in moved if file_exists(document.stored) and not _same_file(document)]
    if not taken:
        return
    first, others = taken[0], len(taken) - 1
    more = f" (so would {others} more)" if others else ""
    raise ConflictError(
        f"{file_path(first.now)} has the id {first.document_id!r}, under which collection {collection!r} holds "
        f"{file_path(first.stored)}, a file that still exists, and would replace it{more}; "
        "index one of the two folders into another collection, or their parent folder once."
    )


def _same_file(document: Moved) -> bool:
    try:
        return os.path.samefile(file_path(document.stored), file_path(document.now))
    except OSError:
        return False
