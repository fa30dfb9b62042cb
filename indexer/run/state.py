"""What is stored, what was found, and what is to be done about the difference: plain functions without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from indexer.identity import content_hash
from indexer.types import StoredRow


@dataclass(slots=True)
class KnownDocument:
    """The stored rows of one document.

    Attributes:
        rows_by_hash: Number of rows per document hash; more than one hash is left by an interrupted change.
        chunk_count: Number of chunks the document should have, by its latest seen row.
        files: URIs of the files that its rows came from; none where the rows do not tell.
        former: Id that it had before it was renamed, or None.
    """

    rows_by_hash: Counter[str] = field(default_factory=Counter)
    chunk_count: int = 0
    files: tuple[str, ...] = ()
    former: str | None = None

    def is_complete(self, document_hash: str) -> bool:
        """Tell whether exactly the chunks of this version are stored."""
        return self.rows_by_hash == {document_hash: self.chunk_count}

    @property
    def is_whole(self) -> bool:
        """Whether exactly the chunks of one version are stored, whichever it is."""
        return list(self.rows_by_hash.values()) == [self.chunk_count]

    @property
    def contents(self) -> Set[str]:
        """Hashes over the bytes of the versions that have rows."""
        return {content_hash(document_hash) for document_hash in self.rows_by_hash}


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
class Moved:
    """A changed document whose stored rows came from another file.

    Attributes:
        document_id: Its identifier.
        stored: URI of the file that the rows came from.
        now: URI of the file that it is in now.
    """

    document_id: str
    stored: str
    now: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does.

    Attributes:
        new: Ids of documents that are not stored.
        changed: Ids of documents that are stored in another version, or not completely.
        unchanged: Ids of documents that are left alone.
        sources: Files to read, each with the keys inside it to pass over.
        vanished: Ids of stored documents under the same roots whose file is gone, or does not hold them any more.
        moved: Changed documents that were stored from another file.
        renamed: Ids of stored documents whose file is gone, by the id of the new document that has their bytes; also
            where an interrupted run has written the latter.
        alike: Ids of stored documents that may hold chunks of those to be written, by the ids of the latter.
    """

    new: frozenset[str]
    changed: frozenset[str]
    unchanged: frozenset[str]
    sources: dict[str, tuple[str, ...]]
    vanished: tuple[str, ...]
    moved: tuple[Moved, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    alike: Mapping[str, str] = field(default_factory=dict)


def gather(rows: Iterable[StoredRow]) -> dict[str, KnownDocument]:
    """Return the stored documents by id."""
    known: dict[str, KnownDocument] = {}
    for row in rows:
        document = known.setdefault(row.document_id, KnownDocument())
        document.rows_by_hash[row.document_hash] += 1
        document.chunk_count = row.chunk_count
        document.former = row.former or document.former
        if row.file is not None and row.file not in document.files:
            document.files += (row.file,)
    return known


def make_plan(
    found: Sequence[Fingerprint],
    *,
    known: Mapping[str, KnownDocument],
    folders: Sequence[str],
    unreadable: Iterable[str],
    files: Mapping[str, str],
    existing: Callable[[Collection[str]], Set[str]],
    at_home: Callable[[str, Collection[str]], bool],
) -> Plan:
    """Compare what is stored with what was found.

    Ids begin with the name of the root folder only, so documents of another folder of that name have not vanished:
    their own files are asked for.

    Args:
        found: All documents that could be read.
        known: Stored documents of the tenant, by id.
        folders: Names of the folder roots; only their documents can vanish.
        unreadable: Source ids that could not be read in whole; their documents have not vanished.
        files: URIs of the files of this run by source id.
        existing: Returns those of some URIs at which there is a file.
        at_home: Tells whether the folders that a document's id and files name can be seen from here: a URI names no
            machine, and another's file is no former name of one that is here.
    """
    new: set[str] = set()
    changed: set[str] = set()
    unchanged: set[str] = set()
    skip: dict[str, list[str]] = {}
    sources: set[str] = set()
    moved: list[Moved] = []
    for document in found:
        stored = known.get(document.document_id)
        if stored is not None and stored.is_complete(document.document_hash):
            unchanged.add(document.document_id)
            if document.key is not None:
                skip.setdefault(document.source_id, []).append(document.key)
            continue
        (new if stored is None else changed).add(document.document_id)
        sources.add(document.source_id)
        now = files[document.source_id]
        origins = stored.files if stored is not None else ()
        moved += [Moved(document.document_id, stored=file, now=now) for file in origins if file != now]
    seen = new | changed | unchanged
    kept, read = tuple(unreadable), frozenset(files.values())
    missing = {
        document_id: [file for file in stored.files if file not in read]
        for document_id, stored in known.items()
        if document_id not in seen
        and _is_under(document_id, folders)
        and not _is_under_source(document_id, kept)
        and stored.files
    }
    there = existing({file for origins in missing.values() for file in origins})
    vanished = sorted(document_id for document_id, origins in missing.items() if there.isdisjoint(origins))
    unknown = {
        document.document_id: content_hash(document.document_hash) for document in found if document.document_id in new
    }
    here = [document_id for document_id in vanished if at_home(document_id, known[document_id].files)]
    begun = begun_renames(changed | unchanged, gone=frozenset(here), known=known)
    gone = sorted(set(here).difference(begun.values()))
    renamed = begun | match_renamed(unknown, gone=whole_by_content(gone, known=known))
    moved_on = frozenset(renamed.values())
    return Plan(
        new=frozenset(new),
        changed=frozenset(changed),
        unchanged=frozenset(unchanged),
        sources={source_id: tuple(skip.get(source_id, ())) for source_id in sorted(sources)},
        vanished=tuple(document_id for document_id in vanished if document_id not in moved_on),
        moved=tuple(moved),
        renamed=renamed,
        alike={**dict(zip(changed, changed, strict=True)), **_copies(unknown, known=known), **renamed},
    )


def whole_by_content(ids: Iterable[str], *, known: Mapping[str, KnownDocument]) -> dict[str, list[str]]:
    """Return the ids of stored documents by the hash over their bytes alone; those stored in part are left out."""
    found: dict[str, list[str]] = {}
    for document_id in ids:
        if known[document_id].is_whole:
            [document_hash] = known[document_id].rows_by_hash
            found.setdefault(content_hash(document_hash), []).append(document_id)
    return found


def begun_renames(ids: Iterable[str], *, gone: Collection[str], known: Mapping[str, KnownDocument]) -> dict[str, str]:
    """Return the gone documents that an interrupted run was renaming, by the ids of the stored ones it has written.

    The rows tell the former name. It counts while there is nothing under it but bytes that stand under the new one.
    """
    formers = {document_id: known[document_id].former for document_id in sorted(ids)}
    found = {
        former: document_id
        for document_id, former in formers.items()
        if former is not None and former in gone and known[former].contents <= known[document_id].contents
    }
    return {document_id: former for former, document_id in found.items()}


def match_renamed(new: Mapping[str, str], *, gone: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Pair new documents with gone ones of the same bytes, each with one, those of the same file name first.

    Args:
        new: Content hashes of new documents by id.
        gone: Ids of gone documents by content hash.

    Returns:
        Ids of gone documents by ids of new ones.
    """
    free = {content: sorted(ids) for content, ids in gone.items()}
    renamed: dict[str, str] = {}
    for same_name in (True, False):
        for document_id, content in sorted(new.items()):
            choices = free.get(content, [])
            choice = next((old for old in choices if not same_name or _name(old) == _name(document_id)), None)
            if document_id not in renamed and choice is not None:
                renamed[document_id] = choice
                choices.remove(choice)
    return renamed


def _copies(new: Mapping[str, str], *, known: Mapping[str, KnownDocument]) -> dict[str, str]:
    if not new:
        return {}
    stored = whole_by_content(known, known=known)
    return {document_id: stored[content][0] for document_id, content in new.items() if content in stored}


def _name(document_id: str) -> str:
    return document_id.rpartition("/")[2]


def _is_under(document_id: str, folders: Sequence[str]) -> bool:
    return any(document_id.startswith(f"{folder}/") for folder in folders)


def _is_under_source(document_id: str, sources: Sequence[str]) -> bool:
    return any(document_id == source or document_id.startswith((f"{source}#", f"{source}/")) for source in sources)


def stale_rows(rows: Iterable[StoredRow], *, current: Mapping[str, str]) -> list[str]:
    """Return the chunk ids that belong to an earlier version of a document; `current` maps document id to hash."""
    return [row.chunk_id for row in rows if row.document_hash != current.get(row.document_id, row.document_hash)]
