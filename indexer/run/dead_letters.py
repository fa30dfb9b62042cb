"""What is left to be mended after a run: dead letters are written, and taken away where a document is well or gone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pymilvus.exceptions import MilvusException

from indexer.run.context import RunContext
from indexer.run.result import Share
from indexer.sources.discovery import Discovery
from indexer.sources.provenance import existing_files
from indexer.store.letters import DeadLetter
from indexer.types import FailedDocument

logger = logging.getLogger(__name__)

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


def settle_letters(run: RunContext, discovery: Discovery, shares: Sequence[Share]) -> int:
    """Bring the dead letters of all tenants of a run up to date; returns how many stand of the run's own.

    Letters that Milvus refuses are told in the log: the run is done, and its report names what failed.

    Raises:
        UnavailableError: Milvus or an object store does not answer.
    """
    standing = {share.tenant: _settle_share(run, discovery, share) for share in shares}
    return standing[run.tenant]


@contextmanager
def letters_in_any_case(run: RunContext) -> Iterator[None]:
    """Write dead letters of what has failed so far where the block raises; the block's error is the one that is told.

    Nothing is taken away then, for what was read well may not be stored. Without the lease nothing is written: its
    holder knows better.
    """
    try:
        yield
    except Exception:
        store = run.store.another()  # does not wait: a server that is away has been waited for
        try:
            for tenant, failures in run.failures.items():
                if not failures:
                    continue
                before = store.read_letters(run.collection, tenant=tenant)
                run.lease.check()
                settled = settle(before, failures=failures, read=(), gone=(), now=_now())
                store.write_letters(run.collection, settled.write, tenant=tenant)
        except Exception as error:  # noqa: BLE001  the run's own error goes on
            logger.warning("what failed was not kept as dead letters of %r: %s", run.collection, error)
        finally:
            store.close()
        raise


def _settle_share(run: RunContext, discovery: Discovery, share: Share) -> int:
    own = share.tenant == run.tenant
    before = run.store.read_letters(run.collection, tenant=share.tenant)
    failed = {failure.uri for failure in share.failures}
    asked = {
        letter.file
        for letter in before
        if own
        and letter.uri not in failed
        and letter.source_id not in share.read
        and _is_under(letter.source_id, discovery.folders)
    }
    gone = (discovery.gone if own else frozenset()) | (asked - existing_files(asked, listed=discovery.left_out))
    settled = settle(before, failures=share.failures, read=share.read, gone=gone, now=_now())
    try:
        run.store.write_letters(run.collection, settled.write, tenant=share.tenant)
        run.store.delete_letters(run.collection, settled.delete, tenant=share.tenant)
    except MilvusException as error:
        logger.warning("dead letters of %r were not brought up to date: %s", run.collection, error)
    return settled.standing


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
