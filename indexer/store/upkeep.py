"""Looking after collections: which generations there are, what differs between two, going back, clearing up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from indexer.errors import ConflictError, NotFoundError
from indexer.identity import content_hash
from indexer.store.generation import identity_differences
from indexer.store.holding import holders, holding
from indexer.store.lease import Claim
from indexer.store.milvus import MilvusStore
from indexer.store.schema import ROLLED_BACK_PROPERTY
from indexer.types import Generation, StoredDocument

_DELETE_BATCH = 200  # document ids per filter expression
Documents = Mapping[tuple[str, str], StoredDocument]


@dataclass(frozen=True, slots=True)
class Overview:
    """A collection.

    Attributes:
        alias: Name that callers use.
        live: The generation that readers see, or None before the first run is complete.
        chunks: Rows of each generation, the oldest first.
        writers: Live claims on it.
    """

    alias: str
    live: Generation | None
    chunks: tuple[tuple[Generation, int], ...]
    writers: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two generations; documents as tenant and id.

    Attributes:
        left: The first of them.
        right: The other.
        identity: What differs in what shaped the rows.
        only_left: Documents that the other does not have.
        only_right: Documents that the first does not have.
        changed: Documents whose bytes differ.
        recut: Documents of the same bytes with another number of chunks.
        same: Number of documents with the same bytes and as many chunks.
        chunks: Rows of the two.
    """

    left: Generation
    right: Generation
    identity: tuple[str, ...]
    only_left: tuple[tuple[str, str], ...]
    only_right: tuple[tuple[str, str], ...]
    changed: tuple[tuple[str, str], ...]
    recut: tuple[tuple[str, str], ...]
    same: int
    chunks: tuple[int, int]


def overview(store: MilvusStore, alias: str) -> Overview:
    """Return what there is of a collection.

    Raises:
        NotFoundError: Nothing.
    """
    generations, live = _found(store, alias)
    return Overview(
        alias=alias,
        live=live,
        chunks=tuple((made, store.count(made.physical)) for made in generations),
        writers=tuple(holders(store, alias)),
    )


def diff(store: MilvusStore, alias: str, *, left: int | None, right: int | None) -> Difference:
    """Compare two generations, by default the one before the live one with the live one.

    Raises:
        NotFoundError: One of them does not exist.
    """
    generations, live = _found(store, alias)
    newer = _numbered(generations, right, alias=alias) if right is not None else live
    if newer is None:
        raise NotFoundError(f"Collection {alias!r} has no live generation yet; name the two to compare.")
    older = (
        _numbered(generations, left, alias=alias)
        if left is not None
        else next((made for made in reversed(generations) if made.number < newer.number), None)
    )
    if older is None:
        raise NotFoundError(f"Collection {alias!r} has no generation before {newer.number} to compare with.")
    return compare(older, newer, left=_documents(store, older), right=_documents(store, newer))


def rollback(store: MilvusStore, alias: str, *, to: int | None) -> tuple[Generation, Generation]:
    """Let readers see an earlier generation again; returns the one they saw and the one they see.

    The mark of the one that is left is written first, that of the other taken away last: interrupted between, the live
    one is marked, which says nothing (`forget_rollback`), but `index` never goes forward by itself.

    Raises:
        NotFoundError: There is no such generation.
        ConflictError: It is not complete, or live already, or somebody writes.
    """
    with holding(store, alias) as lease:
        generations, live = _found(store, alias)
        chosen = rollback_target(generations, live=live, to=to, alias=alias)
        assert live is not None
        lease.check()
        if chosen.number < live.number:
            store.record(live.physical, {ROLLED_BACK_PROPERTY: "yes"})
        store.point_alias(alias, chosen.physical)
        forget_rollback(store, chosen)
    return live, chosen


def forget_rollback(store: MilvusStore, live: Generation) -> None:
    """Take from the generation that readers see the mark that they were taken back from it."""
    if live.rolled_back:
        store.record(live.physical, {ROLLED_BACK_PROPERTY: ""})


def prune(store: MilvusStore, alias: str, *, keep: int) -> list[Generation]:
    """Drop generations that are not live; returns those that were dropped.

    Raises:
        NotFoundError: There is no such collection.
        ConflictError: Somebody writes.
    """
    with holding(store, alias) as lease:
        generations, live = _found(store, alias)
        dropped = prunable(generations, live=live, keep=keep)
        for made in dropped:
            lease.check()
            store.drop_generation(made.physical)
    return dropped


def delete_documents(store: MilvusStore, alias: str, document_ids: Sequence[str], *, tenant: str) -> int:
    """Delete documents of a tenant from the live generation; returns the number of their chunks.

    Raises:
        NotFoundError: The collection or one of the documents does not exist; nothing is deleted then.
        ConflictError: Somebody writes there.
    """
    with holding(store, alias, tenant=tenant) as lease:
        physical = store.locate(alias).physical
        rows: list[str] = []
        there: set[str] = set()
        for start in range(0, len(document_ids), _DELETE_BATCH):
            for row in store.scan(physical, tenant=tenant, document_ids=document_ids[start : start + _DELETE_BATCH]):
                rows.append(row.chunk_id)
                there.add(row.document_id)
        if absent := [document_id for document_id in document_ids if document_id not in there]:
            raise NotFoundError(
                f"Tenant {tenant!r} has no document {absent[0]!r} in {alias!r}; "
                f"`graftwork documents list {alias}` shows what there is; nothing was deleted."
            )
        lease.check()
        store.delete_chunks(physical, rows, tenant=tenant)
    return len(rows)


def rollback_target(
    generations: Sequence[Generation], *, live: Generation | None, to: int | None, alias: str
) -> Generation:
    """Return the generation to go back to: the named one, else the last complete one before the live one.

    Raises:
        NotFoundError: There is none.
        ConflictError: It is not complete, or live already.
    """
    if live is None:
        raise NotFoundError(f"Collection {alias!r} has no live generation yet; there is nothing to go back from.")
    if to is None:
        earlier = [made for made in generations if made.number < live.number and made.verified is not None]
        if not earlier:
            raise NotFoundError(f"Collection {alias!r} has no complete generation before {live.number}.")
        return earlier[-1]
    chosen = _numbered(generations, to, alias=alias)
    if chosen.number == live.number:
        raise ConflictError(f"Generation {to} of {alias!r} is live already.")
    if chosen.verified is None:
        raise ConflictError(
            f"Generation {to} of {alias!r} was never verified: its build is not complete; index with its settings "
            "to complete it."
        )
    return chosen


def prunable(generations: Sequence[Generation], *, live: Generation | None, keep: int) -> list[Generation]:
    """Return the generations to drop: all but the live one and the `keep` newest complete ones besides it."""
    others = [made for made in generations if live is None or made.number != live.number]
    complete = [made for made in others if made.verified is not None]
    kept = {made.number for made in complete[max(0, len(complete) - keep) :]}
    return [made for made in others if made.number not in kept]


def compare(older: Generation, newer: Generation, *, left: Documents, right: Documents) -> Difference:
    """Return what differs; a document has changed when its bytes have, whatever cut and embedded it."""
    both = sorted(left.keys() & right.keys())
    changed = tuple(key for key in both if _contents(left[key]) != _contents(right[key]))
    recut = tuple(key for key in both if key not in set(changed) and left[key].rows != right[key].rows)
    return Difference(
        left=older,
        right=newer,
        identity=identity_differences(older.identity, newer.identity),
        only_left=tuple(sorted(left.keys() - right.keys())),
        only_right=tuple(sorted(right.keys() - left.keys())),
        changed=changed,
        recut=recut,
        same=len(both) - len(changed) - len(recut),
        chunks=(sum(found.rows for found in left.values()), sum(found.rows for found in right.values())),
    )


def _contents(document: StoredDocument) -> set[str]:
    return {content_hash(document_hash) for document_hash in document.hashes}


def _found(store: MilvusStore, alias: str) -> tuple[tuple[Generation, ...], Generation | None]:
    generations, physical = store.generations(alias), store.resolve(alias)
    if not generations:
        raise NotFoundError(f"Collection {alias!r} does not exist at {store.uri}; `collections list` shows all.")
    return generations, next((made for made in generations if made.physical == physical), None)


def _numbered(generations: Sequence[Generation], number: int, *, alias: str) -> Generation:
    for made in generations:
        if made.number == number:
            return made
    there = ", ".join(str(made.number) for made in generations)
    raise NotFoundError(f"Collection {alias!r} has no generation {number}; there are {there}.")


def _documents(store: MilvusStore, made: Generation) -> dict[tuple[str, str], StoredDocument]:
    return {
        (tenant, document.document_id): document
        for tenant in store.tenants(made.physical)
        for document in store.list_documents(made.physical, tenant=tenant)
    }
