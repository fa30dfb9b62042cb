from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError
from train.registry import changes
from train.registry.index import FORMER_KEPT, AdapterEntry, Canary

ENTRY = AdapterEntry(versions=(1, 2, 3, 4), stable=2, former=(1,), retired=(4,))


def test_promote_remembers_the_former_version_and_ends_a_canary_of_the_new_one_alone() -> None:
    trying = ENTRY.model_copy(update={"canary": Canary(version=3, percent=10)})
    done = changes.promote("a", trying, 3)
    assert (done.entry.stable, done.entry.former, done.entry.canary) == (3, (1, 2), None)
    assert (done.before, done.after) == ("2", "3")
    assert changes.promote("a", trying, 1).entry.canary == trying.canary


def test_promoting_the_stable_version_changes_nothing() -> None:
    assert changes.promote("a", ENTRY, 2).entry == ENTRY


def test_rollback_goes_back_step_by_step() -> None:
    entry = changes.promote("a", ENTRY, 3).entry
    once = changes.rollback("a", entry).entry
    assert (once.stable, once.former) == (2, (1,))
    twice = changes.rollback("a", once).entry
    assert (twice.stable, twice.former) == (1, ())
    with pytest.raises(NotFoundError, match="no former stable version"):
        changes.rollback("a", twice)


def test_rollback_to_a_retired_version_is_refused() -> None:
    retired = ENTRY.model_copy(update={"retired": (1,)})
    with pytest.raises(ConflictError, match="a@1 is retired"):
        changes.rollback("a", retired)


def test_only_the_last_former_versions_are_kept() -> None:
    entry = AdapterEntry(versions=tuple(range(1, 101)), stable=1)
    for version in range(2, 101):
        entry = changes.promote("a", entry, version).entry
    assert entry.former == tuple(range(100 - FORMER_KEPT, 100))


def test_a_canary_begins_grows_and_ends() -> None:
    begun = changes.set_canary("a", ENTRY, 3, percent=10)
    assert (begun.entry.canary, begun.before, begun.after) == (Canary(version=3, percent=10), None, "3 at 10%")
    grown = changes.set_canary("a", begun.entry, 3, percent=50)
    assert (grown.before, grown.after) == ("3 at 10%", "3 at 50%")
    ended = changes.set_canary("a", grown.entry, 3, percent=0)
    assert (ended.entry, ended.after) == (ENTRY, None)


@pytest.mark.parametrize(
    ("version", "percent", "error", "says"),
    [
        (3, 101, InputError, "101 is no share"),
        (3, -1, InputError, "-1 is no share"),
        (2, 10, InputError, "a@2 is the stable version"),
        (4, 10, NotFoundError, "a@4 is retired"),
        (5, 10, NotFoundError, "no version 5 .* published: 1, 2, 3, 4"),
        (3, 0, NotFoundError, "no canary of a@3 to end"),
    ],
)
def test_a_canary_that_makes_no_sense_is_refused(
    version: int, percent: int, error: type[GraftworkError], says: str
) -> None:
    with pytest.raises(error, match=says):
        changes.set_canary("a", ENTRY, version, percent=percent)


def test_one_canary_at_a_time() -> None:
    trying = changes.set_canary("a", ENTRY, 3, percent=10).entry
    with pytest.raises(ConflictError, match="canary of a is a@3 at 10 percent"):
        changes.set_canary("a", trying, 1, percent=10)
    with pytest.raises(NotFoundError, match="no canary of a@1 to end; the canary is a@3"):
        changes.set_canary("a", trying, 1, percent=0)


def test_pin_and_unpin() -> None:
    pinned = changes.pin("a", changes.pin("a", ENTRY, 3).entry, 1).entry
    assert pinned.pinned == (1, 3)
    assert changes.pin("a", pinned, 3).entry == pinned
    assert changes.unpin("a", pinned, 1).entry.pinned == (3,)
    with pytest.raises(NotFoundError, match="a@2 is not pinned; pinned are: a@1, a@3"):
        changes.unpin("a", pinned, 2)
    with pytest.raises(NotFoundError, match="retired"):
        changes.pin("a", ENTRY, 4)


def test_what_serves_is_not_retired_and_the_reason_is_named() -> None:
    trying = changes.set_canary("a", ENTRY, 3, percent=10).entry
    with pytest.raises(ConflictError, match="a@2 is the stable version"):
        changes.retire("a", trying, 2, named_by={})
    with pytest.raises(ConflictError, match="a@3 is the canary"):
        changes.retire("a", trying, 3, named_by={})
    with pytest.raises(ConflictError, match="a@1 is named by the specialists one, two"):
        changes.retire("a", trying, 1, named_by={"two": ("a@1",), "one": ("a@stable", "a@1"), "x": ("a@stable",)})
    with pytest.raises(NotFoundError, match="a@4 is retired"):
        changes.retire("a", trying, 4, named_by={})


def test_a_retired_version_is_pinned_no_more_and_stays_known() -> None:
    entry = changes.retire("a", changes.pin("a", ENTRY, 3).entry, 3, named_by={}).entry
    assert (entry.pinned, entry.retired, entry.versions, entry.live) == ((), (3, 4), (1, 2, 3, 4), (1, 2))


VERBS = ("promote", "rollback", "canary", "pin", "unpin", "retire", "publish")


@given(st.lists(st.tuples(st.sampled_from(VERBS), st.integers(1, 6), st.integers(0, 100)), max_size=40))
def test_whatever_is_done_what_serves_is_published_and_not_retired(steps: list[tuple[str, int, int]]) -> None:
    entry = AdapterEntry(versions=(1,), stable=1)
    for verb, version, percent in steps:
        try:
            match verb:
                case "promote":
                    entry = changes.promote("a", entry, version).entry
                case "rollback":
                    entry = changes.rollback("a", entry).entry
                case "canary":
                    entry = changes.set_canary("a", entry, version, percent=percent).entry
                case "pin":
                    entry = changes.pin("a", entry, version).entry
                case "unpin":
                    entry = changes.unpin("a", entry, version).entry
                case "retire":
                    entry = changes.retire("a", entry, version, named_by={}).entry
                case _:
                    entry = changes.add_version(entry, max(entry.versions) + 1, make_stable=percent > 50)
        except GraftworkError:
            continue
        live = set(entry.live)
        assert entry.stable in live
        assert set(entry.pinned) <= live
        assert entry.canary is None or entry.canary.version in live - {entry.stable}
        assert set(entry.former) | set(entry.retired) <= set(entry.versions)
