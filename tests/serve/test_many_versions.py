"""A registry of 10,000 versions: what a replica, a publisher and a listing do in it. The bounds are generous."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import NotFoundError
from serve.catalog_reader import EAGER_STABLE, first_wanted
from serve.layers.models import model_cards
from serve.registry_view import RegistryView
from serve.specialist import Specialist
from tests.train.conftest import write_adapter, write_checkpoint
from tests.train.registry.many import many_versions
from train.base_model import BaseModelFiles, describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter
from train.registry.index import AdapterEntry, Canary

NAMES, VERSIONS = 100, 100


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelFiles:
    folder = tmp_path_factory.mktemp("many") / "base"
    write_checkpoint(folder)
    return describe_base(folder, name="small")


@pytest.fixture
def registry(tmp_path: Path, base: BaseModelFiles) -> AdapterRegistry:
    """Of 10,000 versions 101 have files: whoever reads another manifest finds none."""
    return many_versions(tmp_path / "registry", base=base, names=NAMES, versions=VERSIONS, whole=False)


def view_of(registry: AdapterRegistry, base: BaseModelFiles) -> RegistryView:
    return RegistryView(registry, base_name="base", base=base, max_lora_rank=16, interval_s=1.0)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


async def test_a_replica_starts_without_reading_the_manifests_and_knows_every_name(
    registry: AdapterRegistry, base: BaseModelFiles
) -> None:
    started = time.perf_counter()
    view = view_of(registry, base)
    assert time.perf_counter() - started < 5.0
    assert view.catalog.problems == {}
    assert len(view.catalog.adapters) == NAMES
    cards = model_cards(view.catalog, embedder_name="embedder", created=1)
    assert len(cards) == NAMES * VERSIONS + 2
    with pytest.raises(NotFoundError, match="does not exist"):
        view.catalog.resolve("a0@101", key="")
    assert view.catalog.unread("a0@1", key="") == "a0@1"
    await view.know("a0@1")
    assert view.catalog.resolve("a0@1", key="").adapter is not None


def test_polls_listings_and_publishers_do_not_grow_slow(
    registry: AdapterRegistry, base: BaseModelFiles, tmp_path: Path
) -> None:
    os.utime(Path(str(registry.root)) / "index.json", (1, 1))  # what was written a moment ago is read anyway
    assert registry.revision() == 1
    assert seconds(lambda: [registry.revision() for _ in range(200)]) < 5.0  # one alone is below a clock's tick
    assert seconds(registry.list) < 1.0
    source = write_adapter(tmp_path / "new")
    taken = seconds(lambda: publish_adapter(source, registry=registry, name="a0", base=base, provenance=Provenance()))
    assert taken < 2.0
    assert registry.list()[0].versions[-1] == VERSIONS + 1


def entries(count: int) -> dict[str, AdapterEntry]:
    return {f"a{number:05}": AdapterEntry(versions=(1, 2, 3), stable=2) for number in range(count)}


def test_of_very_many_names_the_stable_versions_are_read_beforehand_up_to_a_limit() -> None:
    index = entries(10_000)
    index["pinned"] = AdapterEntry(versions=(1, 2), stable=1, pinned=(2,))
    index["trial"] = AdapterEntry(versions=(1, 2), stable=1, canary=Canary(version=2, percent=1))
    specialists = {"s": Specialist(name="s", adapter="a09999@3"), "t": Specialist(name="t", adapter="a09998@stable")}
    wanted = first_wanted(index, specialists)
    assert {"pinned@2", "trial@2", "a09999@3", "a09998@2"} <= set(wanted)
    assert len(wanted) == len(set(wanted)) == 4 + EAGER_STABLE


def test_what_is_retired_or_unknown_is_not_read_beforehand() -> None:
    index = {"a": AdapterEntry(versions=(1, 2), stable=2, retired=(1,))}
    specialists = {name: Specialist(name=name, adapter=ref) for name, ref in (("s", "a@1"), ("t", "b@1"), ("u", "a@9"))}
    assert first_wanted(index, specialists) == ("a@2",)
