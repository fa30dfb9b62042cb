from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from indexer.errors import NotFoundError
from serve.catalog import Catalog, choose_arm
from serve.specialist import Specialist, WeightedAdapter
from tests.serve.layers.conftest import manifest
from train.registry.index import AdapterEntry, Canary

ARMS = [WeightedAdapter(ref="a@1", weight=90), WeightedAdapter(ref="a@2", weight=10)]


def catalog() -> Catalog:
    first, second = manifest("a", 1, 1), manifest("a", 2, 2)
    specialists = [
        Specialist(name="a"),
        Specialist(name="canary", adapter=ARMS),
        Specialist(name="orphan", adapter="b@1"),
        Specialist(name="forgiving", adapter="b@1", fallback="base"),
    ]
    return Catalog(
        revision=1,
        base_name="base",
        specialists={s.name: s for s in specialists},
        adapters={"a@1": first, "a@2": second},
        entries={"a": AdapterEntry(versions=(1, 2), stable=2)},
    )


def test_a_specialist_comes_before_an_adapter_of_its_name() -> None:
    assert catalog().resolve("a", key="").kind == "specialist"
    adapter = catalog().resolve("a@stable", key="").adapter
    assert adapter is not None
    assert adapter.ref == "a@2"


@pytest.mark.parametrize("name", ["b", "a@3", "", "a@"])
def test_an_unknown_name_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        catalog().resolve(name, key="")


def test_a_specialist_without_its_adapter_says_which() -> None:
    with pytest.raises(NotFoundError, match="needs adapter 'b@1'"):
        catalog().resolve("orphan", key="")


def test_a_specialist_with_a_fallback_answers_without_its_adapter_and_keeps_in_mind_which() -> None:
    target = catalog().resolve("forgiving", key="")
    assert (target.kind, target.adapter, target.missing) == ("specialist", None, "b@1")
    assert catalog().resolve("canary", key="").missing is None


def test_a_canary_is_sticky_and_keeps_its_weights() -> None:
    chosen = [choose_arm(ARMS, key=f"user-{n}") for n in range(5000)]
    assert chosen == [choose_arm(ARMS, key=f"user-{n}") for n in range(5000)]
    share = Counter(chosen)["a@2"] / len(chosen)
    assert 0.08 < share < 0.12
    resolved = {catalog().resolve("canary", key=f"user-{n}").adapter.ref for n in range(100)}
    assert resolved == {"a@1", "a@2"}


def entries(*, percent: int, version: int = 2, **changed: object) -> Catalog:
    """The catalogue where a version of 'a' is on trial beside the stable first one."""
    entry = AdapterEntry(versions=(1, 2, 3), stable=1, canary=Canary(version=version, percent=percent), **changed)
    adapters = {f"a@{number}": manifest("a", number, number) for number in (1, 2, 3)}
    return replace(catalog(), adapters=adapters, specialists={}, entries={"a": entry})


def on_trial(found: Catalog, name: str = "a") -> set[str]:
    """Of 2,000 users those that do not get the first version."""
    users = [f"user-{number}" for number in range(2000)]
    return {user for user in users if found.resolve(name, key=user).adapter.version != 1}  # type: ignore[union-attr]


def test_a_canary_gets_its_share_and_keeps_its_users_when_the_share_grows() -> None:
    ten, thirty, hundred = (on_trial(entries(percent=percent)) for percent in (10, 30, 100))
    assert 150 < len(ten) < 250
    assert 520 < len(thirty) < 680
    assert ten < thirty < hundred
    assert len(hundred) == 2000
    assert ten == on_trial(entries(percent=10), "a@stable")


def test_another_canary_is_tried_by_others_and_a_version_by_number_by_nobody() -> None:
    second, third = on_trial(entries(percent=10)), on_trial(entries(percent=10, version=3))
    assert len(second & third) < len(second) / 2
    assert on_trial(entries(percent=100), "a@1") == set()


def test_arms_and_canaries_are_drawn_apart() -> None:
    """An arm of a specialist that means a@stable has a@stable's canary for the same share of its users."""
    arms = [WeightedAdapter(ref="a@stable", weight=50), WeightedAdapter(ref="a@3", weight=50)]
    mixed = replace(entries(percent=20), specialists={"s": Specialist(name="s", adapter=arms)})
    found = Counter(mixed.resolve("s", key=f"user-{n}").adapter.version for n in range(4000))  # type: ignore[union-attr]
    assert 1500 < found[1] < 1700
    assert 330 < found[2] < 470


def test_a_retired_version_is_not_found_and_the_message_says_why() -> None:
    found = replace(catalog(), entries={"a": AdapterEntry(versions=(1, 2), stable=2, retired=(1,))})
    found = replace(found, adapters={"a@2": manifest("a", 2, 2)})
    with pytest.raises(NotFoundError, match="'a@1' is retired and served no more"):
        found.resolve("a@1", key="")
    with pytest.raises(NotFoundError, match="needs adapter 'a@1', which is retired"):
        replace(found, specialists={"s": Specialist(name="s", adapter="a@1")}).resolve("s", key="")
    assert list(found.versions()) == ["a@2"]
    assert not found.serves("a@1")
    assert found.unread("a@1", key="") is None


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("a", "a@2"),
        ("a@stable", "a@2"),
        ("a@1", "a@1"),
        ("s", "a@1"),
        ("a@3", None),
        ("a@01", None),
        ("a@١", None),
        ("a@", None),
        ("a@" + "9" * 5000, None),
        ("b", None),
        ("base", None),
        ("plain", None),
    ],
)
def test_only_what_the_index_has_and_nobody_read_is_to_be_read(name: str, ref: str | None) -> None:
    specialists = {"s": Specialist(name="s", adapter="a@1"), "plain": Specialist(name="plain")}
    found = replace(catalog(), adapters={}, specialists=specialists)
    assert found.unread(name, key="") == ref
    if ref is not None:
        assert replace(found, problems={ref: "broken"}).unread(name, key="") is None
        assert replace(found, adapters={ref: manifest("a", 1, 1)}).unread(name, key="") is None


def test_what_a_reference_may_mean() -> None:
    assert entries(percent=1).meanings("a@stable") == ("a@1", "a@2")
    assert entries(percent=1).meanings("a@3") == ("a@3",)
    assert catalog().meanings("b@stable") == ("b@stable",)
