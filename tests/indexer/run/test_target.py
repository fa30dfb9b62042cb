from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.errors import ConflictError
from indexer.run.target import Target, choose_target
from indexer.types import Generation, Identity, Verification

OLD = Identity(embedder="small@aaaa", dimension=8, chunker="v1 200/30/20", parsers=("text/plain=1",), schema=1)
NEW = replace(OLD, embedder="large@bbbb", dimension=16)
PASSED = Verification(at="2026-01-01T00:00:00+00:00", chunks=1, recall=1.0, sample=1)


def made(number: int, identity: Identity = OLD, *, complete: bool = True, rolled_back: bool = False) -> Generation:
    return Generation(
        alias="handbook",
        physical=f"handbook__g{number}",
        number=number,
        identity=identity,
        verified=PASSED if complete else None,
        rolled_back=rolled_back,
    )


def choose(*generations: Generation, live: int | None, wanted: Identity = OLD, allow_new: bool = True) -> Target:
    physical = f"handbook__g{live}" if live else None
    return choose_target(generations, live=physical, alias="handbook", wanted=wanted, allow_new=allow_new)


def test_the_first_run_and_its_continuation_write_into_generation_one() -> None:
    assert choose(live=None) == Target(number=1, live=None, because=(), begun=False)
    assert choose(made(1, complete=False), live=None) == Target(number=1, live=None, because=(), begun=True)
    assert choose(made(1, NEW, complete=False), live=None).number == 2


def test_the_same_settings_write_into_the_live_generation() -> None:
    target = choose(made(1, NEW), made(2), live=2)
    assert (target.number, target.in_place, target.because) == (2, True, ())
    elsewhere = replace(OLD, embedder="/models/other-name@aaaa")
    assert choose(made(1), live=1, wanted=elsewhere).in_place
    assert choose(made(1), live=1, wanted=replace(OLD, parsers=("text/plain=2",))).in_place
    assert choose(made(1), live=1, allow_new=False).in_place


@pytest.mark.parametrize(
    ("wanted", "because"),
    [
        (NEW, "embedder large@bbbb instead of small@aaaa"),
        (replace(OLD, chunker="v1 100/30/20"), "chunker v1 100/30/20 instead of v1 200/30/20"),
        (replace(OLD, schema=2), "schema 2 instead of 1"),
    ],
)
def test_another_embedder_chunker_or_schema_asks_for_the_next_generation(wanted: Identity, because: str) -> None:
    target = choose(made(1), made(2), live=2, wanted=wanted)
    assert (target.number, target.begun, target.in_place, target.because) == (3, False, False, (because,))
    with pytest.raises(ConflictError, match=f"Generation 2 .*{because}.*--no-new-generation"):
        choose(made(1), made(2), live=2, wanted=wanted, allow_new=False)


def test_an_interrupted_build_is_continued_and_one_of_other_settings_is_left_alone() -> None:
    assert choose(made(1), made(2, NEW, complete=False), live=1, wanted=NEW).begun
    target = choose(made(1), made(2, NEW, complete=False), live=1, wanted=replace(NEW, chunker="other"))
    assert (target.number, target.begun) == (3, False)


def test_a_chunker_that_was_not_recorded_counts_as_another() -> None:
    target = choose(made(1, replace(OLD, chunker="")), live=1)
    assert (target.number, target.because) == (2, ("chunker v1 200/30/20 instead of one that is not recorded",))


def test_a_run_does_not_undo_a_rollback() -> None:
    generations = made(1), made(2, NEW, rolled_back=True)
    with pytest.raises(ConflictError, match=r"taken back from generation 2.*prune handbook --keep 0"):
        choose(*generations, live=1, wanted=NEW)
    assert choose(*generations, live=1).in_place


def test_an_alias_of_a_foreign_collection_is_refused() -> None:
    with pytest.raises(ConflictError, match="handbook__g9"):
        choose(made(1), live=9)
