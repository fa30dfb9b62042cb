"""What is left to be mended after a run: dead letters are written, and taken away where a document is well or gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from indexer.run.context import RunContext
from indexer.sources.discovery import Discovery
from indexer.sources.provenance import existing_files
from indexer.store.letters import DeadLetter
from indexer.types import FailedDocument

_REASON_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Settled:
    """The dead letters after a run.

    Attributes:
        write: Of documents that failed in it.
        delete: Addresses of documents that are well or gone.
        standing: How many there are now.
    """

    write: tuple[DeadLetter, ...]
    delete: tuple[str, ...]
    standing: int


def settle(
    before: Sequence[DeadLetter],
    *,
    failures: Sequence[FailedDocument],
    read: Collection[str],
    gone: Collection[str],
    now: str,
) -> Settled:
    """Return what becomes of the dead letters.

    Args:
        before: Those that stand.
        failures: What failed in this run.
        read: Source ids of the files that were read in it.
        gone: URIs of files that are not there any more.
        now: ISO time in UTC.
    """
    known = {letter.uri: letter for letter in before}
    failed = {failure.uri: failure for failure in failures if failure.file}
    write = tuple(_letter(failure, known.get(uri), now=now) for uri, failure in sorted(failed.items()))
    delete = tuple(
        letter.uri
        for letter in before
        if letter.uri not in failed and (letter.source_id in read or letter.file in gone)
    )
    return Settled(write=write, delete=delete, standing=len(known.keys() | failed.keys()) - len(delete))


def settle_letters(run: RunContext, discovery: Discovery, failures: Sequence[FailedDocument]) -> int:
    """Bring the dead letters of the run's tenant up to date; returns how many stand.

    Raises:
        UnavailableError: Milvus or an object store does not answer.
    """
    before = run.store.read_letters(run.collection, tenant=run.tenant)
    read = {file.source_id for file in discovery.files}
    failed = {failure.uri for failure in failures}
    asked = {
        letter.file
        for letter in before
        if letter.uri not in failed and letter.source_id not in read and _is_under(letter.source_id, discovery.folders)
    }
    gone = discovery.gone | (asked - existing_files(asked, listed=discovery.left_out))
    settled = settle(
        before, failures=failures, read=read, gone=gone, now=datetime.now(UTC).isoformat(timespec="seconds")
    )
    run.store.write_letters(run.collection, settled.write, tenant=run.tenant)
    run.store.delete_letters(run.collection, settled.delete, tenant=run.tenant)
    return settled.standing


def _letter(failure: FailedDocument, before: DeadLetter | None, *, now: str) -> DeadLetter:
    return DeadLetter(
        uri=failure.uri,
        file=failure.file,
        source_id=failure.source_id,
        stage=failure.stage,
        reason=failure.reason[:_REASON_CHARS],
        first=before.first if before else now,
        last=now,
        attempts=before.attempts + 1 if before else 1,
    )


def _is_under(source_id: str, folders: Sequence[str]) -> bool:
    return any(source_id.startswith(f"{folder}/") for folder in folders)
