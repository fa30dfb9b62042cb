from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError
from tests.train.conftest import AdapterMaker, Publish, write_checkpoint
from train.base_model import BaseModelFiles, describe_base
from train.registry import (
    AdapterRegistry,
    Provenance,
    publish_adapter,
    remove_specialist,
    verbs,
    write_specialist,
)
from train.registry.index import Canary


def test_each_verb_changes_the_index_and_says_who_when_from_and_to(registry: AdapterRegistry, publish: Publish) -> None:
    publish(3)
    before = registry.revision()
    canary = verbs.canary(registry, "a@2", percent=10, who="ann")
    assert registry.index().adapters["a"].canary == Canary(version=2, percent=10)
    verbs.promote(registry, "a@2", who="bob")
    verbs.pin(registry, "a@3", who="bob")
    verbs.unpin(registry, "a@3", who="bob")
    verbs.rollback(registry, "a", who="ann")
    last = verbs.retire(registry, "a@3", who="ann")
    assert (canary.revision, last.revision) == (before + 1, before + 6)
    told = [(event.who, event.verb, event.before, event.after) for event in verbs.events(registry, name="a")][-6:]
    assert told == [
        ("ann", "canary", None, "2 at 10%"),
        ("bob", "promote", "1", "2"),
        ("bob", "pin", None, "3 pinned"),
        ("bob", "unpin", "3 pinned", None),
        ("ann", "rollback", "2", "1"),
        ("ann", "retire", "live", "3 retired"),
    ]
    assert last.entry == registry.index().adapters["a"]


def test_publishing_and_specialists_are_events_too(registry: AdapterRegistry, publish: Publish) -> None:
    publish(1)
    write_specialist("s", b"{}", who="ann", registry=registry)
    remove_specialist("s", who="ann", registry=registry)
    told = [
        (event.verb, event.adapter or event.specialist, event.before, event.after) for event in verbs.events(registry)
    ]
    assert told == [
        ("publish", "a", None, "1 stable"),
        ("apply specialist", "s", None, "applied"),
        ("remove specialist", "s", "applied", None),
    ]
    assert [event.revision for event in verbs.events(registry)] == [1, 2, 3]


def test_what_is_so_already_is_no_event_and_no_revision(registry: AdapterRegistry, publish: Publish) -> None:
    publish(1)
    verbs.pin(registry, "a@1")
    before = registry.revision()
    for outcome in (verbs.pin(registry, "a@1"), verbs.promote(registry, "a@1")):
        assert (outcome.event, outcome.revision) == (None, before)
    assert registry.revision() == before


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda registry: verbs.promote(registry, "a"), InputError, "names no one version; write a@1"),
        (lambda registry: verbs.promote(registry, "../a@1"), InputError, "cannot name an adapter"),
        (lambda registry: verbs.promote(registry, "a@9"), NotFoundError, "no version 9"),
        (lambda registry: verbs.promote(registry, "b@1"), NotFoundError, "no adapter 'b' .*published: a"),
        (lambda registry: verbs.rollback(registry, "a"), NotFoundError, "no former"),
        (lambda registry: verbs.retire(registry, "a@1"), ConflictError, "a@1 is the stable"),
        (lambda registry: verbs.events(registry, name="b"), NotFoundError, "no adapter 'b'"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    registry: AdapterRegistry,
    publish: Publish,
    call: Callable[[AdapterRegistry], object],
    error: type[GraftworkError],
    says: str,
) -> None:
    publish(1)
    before = registry.index()
    with pytest.raises(error, match=says):
        call(registry)
    assert registry.index() == before


def test_nothing_points_at_a_version_whose_manifest_is_not_there(registry: AdapterRegistry, publish: Publish) -> None:
    publish(2)
    (registry.path("a", 2) / "manifest.json").unlink()
    for verb in (verbs.promote, verbs.pin, lambda *given: verbs.canary(*given, percent=5)):
        with pytest.raises(NotFoundError, match=r"a@2 has no manifest\.json"):
            verb(registry, "a@2")


def test_a_version_that_a_specialist_names_is_not_retired_and_a_retired_one_is_not_named(
    registry: AdapterRegistry, publish: Publish
) -> None:
    publish(3)
    arms = [{"ref": "a@1", "weight": 1}, {"ref": "a@2", "weight": 1}]
    write_specialist("mixed", json.dumps({"adapter": arms}).encode(), registry=registry)
    with pytest.raises(ConflictError, match="a@2 is named by the specialist mixed"):
        verbs.retire(registry, "a@2")
    verbs.retire(registry, "a@3")
    with pytest.raises(ConflictError, match="specialist late names a@3, which is retired"):
        write_specialist("late", b'{"adapter": "a@3"}', registry=registry)
    assert registry.specialists() == ("mixed",)
    remove_specialist("mixed", registry=registry)
    assert verbs.retire(registry, "a@2").entry.retired == (2, 3)


def test_a_retired_versions_files_stay(registry: AdapterRegistry, publish: Publish) -> None:
    publish(2)
    verbs.retire(registry, "a@2")
    registry.verify("a", 2)
    assert registry.resolve("a@2").version == 2


def together(*calls: Callable[[], object]) -> list[object]:
    """The results of calls begun at once; a GraftworkError is a result."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except GraftworkError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Meeting(AdapterRegistry):
    """A registry whose next change waits until as many others have read the index as it has: they meet."""

    barrier: threading.Barrier

    def change(self, make):  # type: ignore[no-untyped-def]
        self.barrier.wait()
        return super().change(make)


def meeting(registry: AdapterRegistry, count: int) -> list[Meeting]:
    barrier = threading.Barrier(count)
    found = [Meeting(registry.root) for _ in range(count)]
    for one in found:
        one.barrier = barrier
    return found


def test_of_two_changes_of_one_pointer_one_wins_and_the_other_is_told_by_whom(
    registry: AdapterRegistry, publish: Publish
) -> None:
    publish(3)
    first, second = meeting(registry, 2)
    results = together(lambda: verbs.promote(first, "a@2", who="ann"), lambda: verbs.promote(second, "a@3", who="bob"))
    [won] = [result for result in results if isinstance(result, verbs.Outcome)]
    [lost] = [result for result in results if isinstance(result, ConflictError)]
    assert won.event is not None
    assert f"{won.event.who} changed a at the same time (promote, from 1 to {won.entry.stable}" in str(lost)
    assert registry.index().adapters["a"].stable == won.entry.stable


def test_changes_of_different_pointers_at_once_are_all_made(registry: AdapterRegistry, publish: Publish) -> None:
    publish(3)
    publish(1, name="b")
    before = registry.revision()
    parties = meeting(registry, 5)
    results = together(
        lambda: verbs.promote(parties[0], "a@2"),
        lambda: verbs.pin(parties[1], "a@1"),
        lambda: verbs.pin(parties[2], "a@3"),
        lambda: verbs.canary(parties[3], "a@3", percent=5),
        lambda: verbs.pin(parties[4], "b@1"),
    )
    assert [result for result in results if isinstance(result, GraftworkError)] == []
    entry = registry.index().adapters["a"]
    assert (entry.stable, entry.pinned, entry.canary) == (2, (1, 3), Canary(version=3, percent=5))
    assert registry.revision() == before + 5
    assert [event.revision for event in verbs.events(registry)] == list(range(1, before + 6))


def test_verify_says_that_a_version_is_unverified_unless_that_is_allowed(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    given = Provenance(unverified=True)
    publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=given)
    with pytest.raises(InputError, match=r"a@1 is unverified, .* without --skip-engine-check, or set serve\.allow_unv"):
        verbs.verify(registry, "a", base=small_base, max_rank=4)
    assert verbs.verify(registry, "a", base=small_base, max_rank=4, allow_unverified=True).unverified


def test_verify_reads_every_byte_and_asks_whether_the_base_can_serve_it(
    registry: AdapterRegistry, publish: Publish, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    publish(1)
    assert verbs.verify(registry, "a", base=small_base, max_rank=4).ref == "a@1"
    with pytest.raises(InputError, match="rank 4"):
        verbs.verify(registry, "a@1", base=small_base, max_rank=2)
    write_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="a@1 was made for small-base"):
        verbs.verify(registry, "a@1", base=describe_base(tmp_path / "other", name="other"), max_rank=4)
    weights = registry.path("a", 1) / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"damaged: adapter_model\.safetensors"):
        verbs.verify(registry, "a@1", base=small_base, max_rank=4)
