from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import NotFoundError
from serve.catalog_reader import read_catalog
from tests.serve.registry_world import CountingRegistry, World, write_adapter, write_base
from train.registry import publish_adapter
from train.registry.index import RegistryIndex
from train.registry.manifest import AdapterManifest, Provenance


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_versions_and_stable_are_callable(world: World) -> None:
    world.publish()
    world.apply("first", adapter="ropes@1")
    catalog = world.view().catalog
    assert catalog.resolve("ropes@1", key="").adapter != catalog.resolve("ropes@2", key="").adapter
    assert catalog.resolve("ropes", key="").adapter == catalog.resolve("ropes@2", key="").adapter


def test_one_bad_specialist_leaves_the_others_served_and_says_why(world: World) -> None:
    world.apply("good", adapter="ropes@1")
    world.apply("foreign", base="other-base")
    world.apply("broken", colection="x")
    catalog = world.view().catalog
    assert set(catalog.specialists) == {"good"}
    assert "'other-base'" in catalog.problems["foreign"]
    assert "colection" in catalog.problems["broken"]


def test_an_adapter_above_the_servers_rank_or_for_another_base_is_left_out(world: World, tmp_path: Path) -> None:
    wide = write_adapter(tmp_path / "wide", rank=6)
    publish_adapter(wide, registry=world.registry, name="wide", base=world.base, provenance=Provenance())
    other = write_base(tmp_path / "other-base", seed=1)
    publish_adapter(world.adapter, registry=world.registry, name="foreign", base=other, provenance=Provenance())
    catalog = world.view(max_lora_rank=4 + 4).catalog
    assert {manifest.ref for manifest in catalog.adapters.values()} == {"ropes@1", "wide@1"}
    assert "foreign@1" in catalog.problems
    catalog = world.view(max_lora_rank=1).catalog
    assert catalog.adapters == {}
    assert "rank 4" in catalog.problems["ropes@1"]


def test_an_unverified_adapter_is_left_out_unless_it_is_allowed(world: World) -> None:
    world.publish(unverified=True)
    catalog = world.view().catalog
    assert set(catalog.adapters) == set()  # the first is no more stable, and nobody names it
    assert "ropes@2 is unverified" in catalog.problems["ropes@2"]
    assert "set serve.allow_unverified" in catalog.problems["ropes@2"]
    with pytest.raises(NotFoundError, match="'ropes' cannot be served; `graftwork adapters verify ropes@2` says why"):
        catalog.resolve("ropes", key="")
    allowed = world.view(allow_unverified=True).catalog
    assert set(allowed.adapters) == {"ropes@2"}
    assert allowed.problems == {}


def test_a_specialist_whose_document_is_missing_or_unreadable_leaves_the_others_served(world: World) -> None:
    for name in ("good", "missing", "folder"):
        world.apply(name)
    documents = world.registry.root / "specialists"
    (documents / "missing.json").unlink()
    (documents / "folder.json").unlink()
    (documents / "folder.json").mkdir()
    catalog = world.view().catalog
    assert set(catalog.specialists) == {"good"}
    assert "(No such file or directory); apply it again" in catalog.problems["missing"]
    assert "'folder' has no readable document" in catalog.problems["folder"]


def test_an_unreadable_manifest_leaves_the_others_served(world: World) -> None:
    world.publish()
    world.apply("first", adapter="ropes@1")

    class Damaged(CountingRegistry):
        def read_manifest(self, name: str, version: int, *, index: RegistryIndex) -> AdapterManifest:
            if version == 1:
                raise PermissionError(13, "Permission denied")
            return super().read_manifest(name, version, index=index)

    registry = Damaged(world.registry.root)
    catalog = read_catalog(registry, base_name="base", base=world.base, max_lora_rank=16)
    assert set(catalog.adapters) == {"ropes@2"}
    assert "Permission denied" in catalog.problems["ropes@1"]
