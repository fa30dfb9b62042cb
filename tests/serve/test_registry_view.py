from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from indexer.errors import GraftworkError
from serve.registry_view import RegistryView
from train.base_model import BaseModelFiles, describe_base
from train.registry.manifest import Provenance
from train.registry.registry import AdapterRegistry


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


class World:
    """A registry with one adapter, and a view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = write_base(folder / "base", seed=0)
        self.registry = AdapterRegistry(folder / "registry")
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


async def until_known(view: RegistryView, name: str) -> None:
    for _ in range(500):
        if name in view.catalog.specialists:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{name} did not appear within 5 s")


async def test_a_change_is_followed_and_a_broken_index_leaves_the_last_catalogue(world: World) -> None:
    view = world.view()
    following = asyncio.create_task(view.follow())
    world.apply("late")
    await until_known(view, "late")
    index = world.registry.root / "index.json"
    good = index.read_bytes()
    index.write_bytes(b"{")
    await asyncio.sleep(0.1)
    assert not following.done()
    assert "late" in view.catalog.specialists
    index.write_bytes(good)
    world.apply("later")
    await until_known(view, "later")
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


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
