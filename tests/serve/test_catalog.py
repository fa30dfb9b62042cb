from __future__ import annotations

from collections import Counter

import pytest

from indexer.errors import NotFoundError
from serve.catalog import Catalog, choose_arm
from serve.specialist import Specialist, WeightedAdapter
from tests.serve.layers.conftest import manifest

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
        adapters={"a@1": first, "a@2": second, "a@stable": second},
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
