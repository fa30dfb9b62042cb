"""What a new generation must hold: every document of the live one, unless the user lets it go. Plain functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace

from indexer.errors import ConflictError
from indexer.identity import content_hash
from indexer.run.state import Fingerprint, KnownDocument
from indexer.run.target import Target

_NAMED = 5  # roots that an error names


def by_content(known: Mapping[str, KnownDocument]) -> dict[str, KnownDocument]:
    """Return stored documents as if their hashes were over their bytes alone: generations differ in the rest."""
    return {document_id: _content_only(document) for document_id, document in known.items()}


def found_by_content(found: Iterable[Fingerprint]) -> list[Fingerprint]:
    """Return fingerprints over the documents' bytes alone."""
    return [replace(document, document_hash=content_hash(document.document_hash)) for document in found]


def lost_documents(live: Iterable[str], *, present: Collection[str], let_go: Iterable[str]) -> list[str]:
    """Return the documents of the live generation that a new one would not hold, though nobody let them go."""
    return sorted(set(live).difference(present).difference(let_go))


def left_over(known: Mapping[str, KnownDocument], *, stored: Set[str], wanted: Set[str]) -> set[str]:
    """Return the documents of an earlier attempt at a build that stay as they are.

    Args:
        known: What that attempt left, by id.
        stored: Documents that were written or found complete now.
        wanted: Documents that belong into the generation; those that failed now keep their earlier version.
    """
    return {document_id for document_id in (known.keys() & wanted) - stored if known[document_id].is_whole}


def refuse_loss(lost: Sequence[str], *, alias: str, target: Target) -> None:
    """Refuse a new generation that would lose documents, before anything is read or written for it.

    Raises:
        ConflictError: It would; how many, of which roots, and what to do are named.
    """
    if lost and target.live is not None:
        raise ConflictError(
            f"The settings ask for a new generation of {alias!r} ({'; '.join(target.because)}), but "
            f"{_counted(lost)} that generation {target.live.number} holds cannot be read again; put the files back, "
            "give --sync with the whole folders whose files are gone for good, or --allow-missing to leave them out."
        )


def refuse_switch(lost: Sequence[str], *, alias: str, target: Target, reason: str) -> None:
    """Refuse to let readers into a generation in which documents of the live one failed.

    Args:
        lost: Ids of the documents.
        alias: Name of the collection.
        target: The generation that was built.
        reason: Why one of them failed, or empty.

    Raises:
        ConflictError: There are such documents.
    """
    if lost and target.live is not None:
        why = f" ({reason})" if reason else ""
        raise ConflictError(
            f"Generation {target.number} of {alias!r} is built, but readers stay with generation {target.live.number}: "
            f"{_counted(lost)} could not be indexed anew{why}; mend them and run this again to go on, or give "
            "--allow-missing to leave them out."
        )


def _content_only(document: KnownDocument) -> KnownDocument:
    rows: Counter[str] = Counter()
    for document_hash, count in document.rows_by_hash.items():
        rows[content_hash(document_hash)] += count
    return KnownDocument(
        rows_by_hash=rows, chunk_count=document.chunk_count, files=document.files, former=document.former
    )


def _counted(lost: Sequence[str]) -> str:
    roots = sorted({document_id.partition("/")[0] for document_id in lost})
    named = ", ".join(roots[:_NAMED]) + (f" and {len(roots) - _NAMED} more" if len(roots) > _NAMED else "")
    return f"{len(lost)} documents of {named} (first {lost[0]!r})"
