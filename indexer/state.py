"""What is stored, what was found, and what is to be done about the difference: plain functions without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from indexer.types import StoredRow


@dataclass(slots=True)
class KnownDocument:
    """The stored rows of one document.

    Attributes:
        rows_by_hash: Number of rows per document hash; more than one hash is left by an interrupted change.
        chunk_count: Number of chunks the document should have, by its latest seen row.
    """

    rows_by_hash: Counter[str] = field(default_factory=Counter)
    chunk_count: int = 0

    def is_complete(self, document_hash: str) -> bool:
        """Tell whether exactly the chunks of this version are stored."""
        return self.rows_by_hash == {document_hash: self.chunk_count}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A document as it is now.

    Attributes:
        source_id: The file it is in.
        key: Its name inside the file, or None.
        document_id: Its identifier.
        document_hash: Hash over its bytes and the pipeline.
    """

    source_id: str
    key: str | None
    document_id: str
    document_hash: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Attributes:
        new: Ids of documents that are not stored.
        changed: Ids of documents that are stored in another version, or not completely.
        unchanged: Ids of documents that are left alone.
        sources: Files to read, each with the keys inside it to pass over.
        vanished: Ids of stored documents under the same roots that were not found any more.
    """

    new: frozenset[str]
    changed: frozenset[str]
    unchanged: frozenset[str]
    sources: dict[str, tuple[str, ...]]
    vanished: tuple[str, ...]


def gather(rows: Iterable[StoredRow]) -> dict[str, KnownDocument]:
    """Return the stored documents by id."""
    known: dict[str, KnownDocument] = {}
    for row in rows:
        document = known.setdefault(row.document_id, KnownDocument())
        document.rows_by_hash[row.document_hash] += 1
        document.chunk_count = row.chunk_count
    return known


def make_plan(
    found: Sequence[Fingerprint],
    *,
    known: Mapping[str, KnownDocument],
    folders: Sequence[str],
    unreadable: Iterable[str],
) -> Plan:
    """Compare what is stored with what was found.

    Args:
        found: All documents that could be read.
        known: Stored documents of the tenant, by id.
        folders: Names of the folder roots; only their documents can vanish.
        unreadable: Source ids that could not be read in whole; their documents have not vanished.
    """
    new: set[str] = set()
    changed: set[str] = set()
    unchanged: set[str] = set()
    skip: dict[str, list[str]] = {}
    sources: set[str] = set()
    for document in found:
        stored = known.get(document.document_id)
        if stored is not None and stored.is_complete(document.document_hash):
            unchanged.add(document.document_id)
            if document.key is not None:
                skip.setdefault(document.source_id, []).append(document.key)
            continue
        (new if stored is None else changed).add(document.document_id)
        sources.add(document.source_id)
    seen = new | changed | unchanged
    kept = tuple(unreadable)
    vanished = sorted(
        document_id
        for document_id in known
        if document_id not in seen and _is_under(document_id, folders) and not _is_under_source(document_id, kept)
    )
    return Plan(
        new=frozenset(new),
        changed=frozenset(changed),
        unchanged=frozenset(unchanged),
        sources={source_id: tuple(skip.get(source_id, ())) for source_id in sorted(sources)},
        vanished=tuple(vanished),
    )


def _is_under(document_id: str, folders: Sequence[str]) -> bool:
    return any(document_id.startswith(f"{folder}/") for folder in folders)


def _is_under_source(document_id: str, sources: Sequence[str]) -> bool:
    return any(document_id == source or document_id.startswith((f"{source}#", f"{source}/")) for source in sources)


def stale_rows(rows: Iterable[StoredRow], *, current: Mapping[str, str]) -> list[str]:
    """Return the chunk ids that belong to an earlier version of a document; `current` maps document id to hash."""
    return [row.chunk_id for row in rows if row.document_hash != current.get(row.document_id, row.document_hash)]
