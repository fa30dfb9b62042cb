from __future__ import annotations

import pytest

from indexer.errors import ConflictError, NotFoundError
from indexer.store.generation import verified_properties
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from indexer.store.upkeep import (
    delete_documents,
    diff,
    forget_rollback,
    overview,
    prunable,
    prune,
    rollback,
    rollback_target,
)
from indexer.types import Generation
from tests.indexer.making import chunk, unit_vectors
from tests.indexer.run.test_target import NEW, OLD, PASSED, made


def build(store: MilvusStore, alias: str, number: int, *, complete: bool = True) -> Generation:
    identity = OLD if number == 1 else NEW
    generation = store.ensure_generation(
        alias, embedder=identity.embedder, dimension=8, chunker=identity.chunker, parsers=("a/b=1",), number=number
    )
    if complete:
        store.record(generation.physical, verified_properties(PASSED))
    return generation


def test_going_back_is_to_the_last_complete_generation_or_to_the_named_one() -> None:
    generations = [made(1), made(2), made(3, complete=False), made(4)]
    assert rollback_target(generations, live=made(4), to=None, alias="c").number == 2
    assert rollback_target(generations, live=made(2), to=4, alias="c").number == 4
    for to, error, words in (
        (3, ConflictError, "never verified"),
        (4, ConflictError, "live already"),
        (7, NotFoundError, "there are 1, 2, 3, 4"),
    ):
        with pytest.raises(error, match=words):
            rollback_target(generations, live=made(4), to=to, alias="c")
    with pytest.raises(NotFoundError, match="no complete generation before 1"):
        rollback_target(generations, live=made(1), to=None, alias="c")
    with pytest.raises(NotFoundError, match="no live generation"):
        rollback_target(generations, live=None, to=1, alias="c")


@pytest.mark.parametrize(
    ("live", "keep", "dropped"),
    [(4, 1, [1, 3]), (4, 0, [1, 2, 3]), (4, 9, [3]), (1, 1, [2, 3]), (None, 0, [1, 2, 3, 4]), (None, 3, [3])],
)
def test_prune_keeps_the_live_one_and_the_newest_complete_ones(live: int | None, keep: int, dropped: list[int]) -> None:
    generations = [made(1), made(2), made(3, complete=False), made(4)]
    chosen = prunable(generations, live=made(live) if live else None, keep=keep)
    assert [generation.number for generation in chosen] == dropped


def test_generations_record_their_identity_and_are_swapped_compared_and_dropped(store: MilvusStore) -> None:
    first, second = build(store, "kept", 1), build(store, "kept", 2)
    build(store, "kept", 3, complete=False)
    store.point_alias("kept", second.physical)
    for generation, hashes in ((first, ("a1", "b1", "c1")), (second, ("a1", "b2", None))):
        for name, version in zip(("a", "b", "c"), hashes, strict=True):
            if version is None:
                continue
            pieces = 2 if (name, generation) == ("a", second) else 1
            full = f"{version:0<32}p{generation.number}"
            cut = [chunk(f"{name}{n}", document_id=f"d/{name}", ordinal=n, document_hash=full) for n in range(pieces)]
            store.upsert(generation.physical, cut, unit_vectors(pieces), tenant="t")
    found = overview(store, "kept")
    assert found.live is not None
    assert (found.live.number, [chunks for _, chunks in found.chunks], found.writers) == (2, [3, 3, 0], ())
    assert (found.chunks[0][0].identity.chunker, found.chunks[0][0].identity.parsers) == (OLD.chunker, ("a/b=1",))
    assert [generation.verified is not None for generation, _ in found.chunks] == [True, True, False]

    between = diff(store, "kept", left=None, right=None)
    assert (between.left.number, between.right.number, between.chunks) == (1, 2, (3, 3))
    assert (between.only_left, between.only_right) == ((("t", "d/c"),), ())
    assert (between.changed, between.recut, between.same) == ((("t", "d/b"),), (("t", "d/a"),), 0)
    assert between.identity == ("embedder large@bbbb instead of small@aaaa",)

    with holding(store, "kept", tenant="t"):
        for forbidden in (lambda: rollback(store, "kept", to=None), lambda: prune(store, "kept", keep=0)):
            with pytest.raises(ConflictError, match="Another writer has the lease"):
                forbidden()
    before, now = rollback(store, "kept", to=None)
    assert (before.number, now.number, store.locate("kept").number) == (2, 1, 1)
    assert [generation.rolled_back for generation, _ in overview(store, "kept").chunks] == [False, True, False]
    rollback(store, "kept", to=2)
    assert [generation.rolled_back for generation, _ in overview(store, "kept").chunks] == [False, False, False]
    assert [generation.number for generation in prune(store, "kept", keep=0)] == [1, 3]
    assert [generation.number for generation in store.generations("kept")] == [2]
    assert store.count(store.locate("kept").physical) == 3
    with pytest.raises(NotFoundError, match="'absent' does not exist"):
        overview(store, "absent")
    assert "kept" in store.aliases()


@pytest.mark.parametrize("to", [1, 2])
def test_a_rollback_that_is_cut_off_leaves_no_mark_that_counts(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch, to: int
) -> None:
    """Of the live one a mark says nothing, and the one that readers were taken back from keeps its own."""
    alias = f"cut_off_{to}"
    one, two = build(store, alias, 1), build(store, alias, 2)
    store.point_alias(alias, two.physical)
    if to == 2:
        rollback(store, alias, to=1)

    def cut_off(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MilvusStore, "point_alias", cut_off)
    with pytest.raises(KeyboardInterrupt):
        rollback(store, alias, to=to)
    monkeypatch.undo()
    marked = [generation.rolled_back for generation in store.generations(alias)]
    assert (store.resolve(alias), marked) == ((two if to == 1 else one).physical, [False, True])
    forget_rollback(store, store.generations(alias)[1])
    assert [generation.rolled_back for generation in store.generations(alias)] == [False, False]


def test_a_document_is_deleted_for_its_tenant_only_and_all_or_none(store: MilvusStore) -> None:
    made_here = build(store, "shelf", 1)
    store.point_alias("shelf", made_here.physical)
    for tenant in ("red", "blue"):
        cut = [chunk(f"{n}", tenant=tenant, document_id=f"d/{n % 2}", ordinal=n) for n in range(4)]
        store.upsert(made_here.physical, cut, unit_vectors(4), tenant=tenant)
    with pytest.raises(NotFoundError, match="no document 'd/absent'"):
        delete_documents(store, "shelf", ["d/0", "d/absent"], tenant="red")
    assert store.count(made_here.physical) == 8
    with holding(store, "shelf", tenant="red"), pytest.raises(ConflictError):
        delete_documents(store, "shelf", ["d/0"], tenant="red")
    assert delete_documents(store, "shelf", ["d/0"], tenant="red") == 2
    assert (store.count(made_here.physical, tenant="red"), store.count(made_here.physical, tenant="blue")) == (2, 4)


def test_documents_are_listed_by_prefix_and_shown_in_order(store: MilvusStore) -> None:
    physical = build(store, "listed", 1).physical
    for name, count in (("a%b/x", 2), ("a%b/y", 1), ("a_b/x", 1), ("aXb/é", 3)):
        cut = [chunk(f"{name}{n}", document_id=name, ordinal=n, chunk_count=count, page=n) for n in range(count)]
        store.upsert(physical, cut[::-1], unit_vectors(count), tenant="t")
    store.upsert(physical, [chunk("half", document_id="half", chunk_count=2)], unit_vectors(1), tenant="t")
    store.upsert(physical, [chunk("x", document_id="a%b/x", tenant="u")], unit_vectors(1), tenant="u")

    def ids(prefix: str) -> list[str]:
        return [found.document_id for found in store.list_documents(physical, tenant="t", prefix=prefix)]

    assert ids("") == ["a%b/x", "a%b/y", "aXb/é", "a_b/x", "half"]
    assert (ids("a%b/"), ids("a_b"), ids("aXb/é"), ids("b")) == (["a%b/x", "a%b/y"], ["a_b/x"], ["aXb/é"], [])
    by_id = {found.document_id: found for found in store.list_documents(physical, tenant="t")}
    assert (by_id["aXb/é"].rows, by_id["aXb/é"].is_complete, by_id["half"].is_complete) == (3, True, False)
    shown = store.read_document(physical, "aXb/é", tenant="t")
    assert [(piece.ordinal, piece.page, piece.text) for piece in shown] == [
        (0, None, "aXb/é0"), (1, 1, "aXb/é1"), (2, 2, "aXb/é2")
    ]  # fmt: skip
    assert shown[0].heading_path == ("One", 'Two "quoted"')
    assert store.read_document(physical, "aXb/é", tenant="u") == []
    assert store.tenants(physical) == ["t", "u"]
