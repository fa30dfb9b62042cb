from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from indexer.errors import GraftworkError, UnavailableError
from serve.registry_view import RegistryView, read_catalog
from train.base_model import BaseModelFiles, describe_base
from train.registry.manifest import AdapterManifest, Provenance
from train.registry.registry import AdapterRegistry, AdapterSummary


def write_base(folder: Path, *, seed: int) -> BaseModelFiles:
    folder.mkdir()
    weights = np.random.default_rng(seed).standard_normal((8, 8), dtype=np.float32)
    save_file({"model.layers.0.self_attn.q_proj.weight": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    return describe_base(folder, name=folder.name)


def write_adapter(folder: Path, *, rank: int = 4) -> Path:
    folder.mkdir()
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{prefix}.lora_A.weight": np.ones((rank, 8), np.float32),
        f"{prefix}.lora_B.weight": np.ones((8, rank), np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


class CountingRegistry(AdapterRegistry):
    """A registry that counts what is read of it, and can be slow or fail where a disk would."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: Counter[str] = Counter()
        self.verifying = threading.Event()
        self.verify_s = 0.0
        self.fault: OSError | None = None
        self.lost_after_revision = False

    def manifest(self, name: str, version: int) -> AdapterManifest:
        self.read[f"{name}@{version}"] += 1
        return super().manifest(name, version)

    def verify(self, name: str, version: int) -> None:
        self.read["verify"] += 1
        self.verifying.set()
        time.sleep(self.verify_s)
        if self.fault is not None:
            raise self.fault
        super().verify(name, version)

    def list(self) -> list[AdapterSummary]:
        if self.lost_after_revision:
            (self.root / "index.json").unlink()
        return super().list()


class World:
    """A registry with one adapter, and a view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = write_base(folder / "base", seed=0)
        self.registry = CountingRegistry(folder / "registry")
        self.adapter = write_adapter(folder / "adapter")
        self.registry.publish(self.adapter, name="ropes", base=self.base, provenance=Provenance())

    def view(self, *, max_lora_rank: int = 16) -> RegistryView:
        return RegistryView(
            self.registry, base_name="base", base=self.base, max_lora_rank=max_lora_rank, interval_s=0.01
        )

    def apply(self, name: str, **document: object) -> None:
        self.registry.write_specialist(name, json.dumps({"name": name, **document}).encode())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_versions_and_stable_are_callable(world: World) -> None:
    world.registry.publish(world.adapter, name="ropes", base=world.base, provenance=Provenance())
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
    world.registry.publish(wide, name="wide", base=world.base, provenance=Provenance())
    other = write_base(tmp_path / "other-base", seed=1)
    world.registry.publish(world.adapter, name="foreign", base=other, provenance=Provenance())
    catalog = world.view(max_lora_rank=4 + 4).catalog
    assert {manifest.ref for manifest in catalog.adapters.values()} == {"ropes@1", "wide@1"}
    assert "foreign@1" in catalog.problems
    catalog = world.view(max_lora_rank=1).catalog
    assert catalog.adapters == {}
    assert "rank 4" in catalog.problems["ropes@1"]


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
    world.registry.publish(world.adapter, name="ropes", base=world.base, provenance=Provenance())

    class Damaged(CountingRegistry):
        def manifest(self, name: str, version: int) -> AdapterManifest:
            if version == 1:
                raise PermissionError(13, "Permission denied")
            return super().manifest(name, version)

    registry = Damaged(world.registry.root)
    catalog = read_catalog(registry, base_name="base", base=world.base, max_lora_rank=16)
    assert set(catalog.adapters) == {"ropes@2", "ropes@stable"}
    assert "Permission denied" in catalog.problems["ropes@1"]


async def until(condition: Callable[[], bool], *, what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{what} did not happen within 5 s")


async def until_known(view: RegistryView, name: str) -> None:
    await until(lambda: name in view.catalog.specialists, what=f"the appearance of {name}")


@asynccontextmanager
async def followed(view: RegistryView) -> AsyncIterator[None]:
    following = asyncio.create_task(view.follow())
    yield
    assert not following.done()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def test_a_change_is_followed_and_a_broken_index_leaves_the_last_catalogue(world: World) -> None:
    view = world.view()
    async with followed(view):
        world.apply("late")
        await until_known(view, "late")
        index = world.registry.root / "index.json"
        good = index.read_bytes()
        index.write_bytes(b"{")
        await asyncio.sleep(0.1)
        assert "late" in view.catalog.specialists
        index.write_bytes(good)
        world.apply("later")
        await until_known(view, "later")


async def test_a_registry_that_is_away_is_not_an_empty_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    world.apply("kept", adapter="ropes@1")
    view = world.view()
    async with followed(view):
        away = world.registry.root.rename(world.folder / "unmounted")
        await asyncio.sleep(0.1)
        assert set(view.catalog.specialists) == {"kept"}
        assert len([record for record in caplog.records if "reads as revision 0" in record.getMessage()]) == 1
        away.rename(world.registry.root)
        world.apply("later")
        await until_known(view, "later")


async def test_a_registry_that_goes_away_while_it_is_read_is_not_taken(world: World) -> None:
    world.apply("kept")
    view = world.view()
    index = world.registry.root / "index.json"
    async with followed(view):
        world.registry.lost_after_revision = True
        world.apply("later")
        await until(lambda: not index.exists(), what="the loss of the index")
        await asyncio.sleep(0.1)
        assert set(view.catalog.specialists) == {"kept"}


async def test_a_manifest_is_read_once(world: World) -> None:
    view = world.view()
    async with followed(view):
        world.registry.publish(world.adapter, name="ropes", base=world.base, provenance=Provenance())
        await until(lambda: "ropes@2" in view.catalog.adapters, what="the appearance of ropes@2")
    assert world.registry.read == {"ropes@1": 1, "ropes@2": 1}


async def test_a_burst_for_a_new_version_makes_one_check_and_one_who_leaves_does_not_end_it(world: World) -> None:
    view = world.view()
    manifest = view.catalog.adapters["ropes@1"]
    world.registry.verify_s = 0.1
    burst = [asyncio.create_task(view.adapter_path(manifest)) for _ in range(20)]
    await asyncio.to_thread(world.registry.verifying.wait)
    burst[0].cancel()
    paths = await asyncio.gather(*burst[1:])
    assert set(paths) == {world.registry.path("ropes", 1)}
    await view.adapter_path(manifest)
    assert world.registry.read["verify"] == 1


async def test_files_that_cannot_be_read_are_unavailable_and_are_checked_again_later(world: World) -> None:
    view = world.view()
    manifest = view.catalog.adapters["ropes@1"]
    world.registry.fault = OSError(5, "Input/output error")
    with pytest.raises(UnavailableError, match=r"files of adapter ropes@1 cannot be read .*Input/output error"):
        await view.adapter_path(manifest)
    world.registry.fault = None
    assert await view.adapter_path(manifest) == world.registry.path("ropes", 1)


async def test_a_flipped_byte_is_found_before_the_engine_sees_the_file(world: World) -> None:
    view = world.view()
    manifest = view.catalog.adapters["ropes@1"]
    weights = world.registry.path("ropes", 1) / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(bytes(content))
    with pytest.raises(GraftworkError, match=r"adapter_model\.safetensors"):
        await view.adapter_path(manifest)
