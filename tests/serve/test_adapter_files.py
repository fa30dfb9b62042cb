from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from indexer.errors import GraftworkError, InputError, UnavailableError
from serve.adapter_files import AdapterFiles
from tests.serve.registry_world import World
from train.registry.files import hash_file
from train.registry.manifest import AdapterManifest


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def files_of(world: World) -> AdapterFiles:
    return AdapterFiles(world.registry, base=world.base, max_lora_rank=16, needed=frozenset, interval_s=0.01)


async def folder_of(files: AdapterFiles, manifest: AdapterManifest) -> Path:
    async with files.use(manifest) as folder:
        return folder


async def test_a_burst_for_a_new_version_makes_one_check_and_one_who_leaves_does_not_end_it(world: World) -> None:
    files, manifest = files_of(world), world.registry.manifest("ropes", 1)
    world.registry.verify_s = 0.1
    burst = [asyncio.create_task(folder_of(files, manifest)) for _ in range(20)]
    await asyncio.to_thread(world.registry.verifying.wait)
    burst[0].cancel()
    paths = await asyncio.gather(*burst[1:])
    assert set(paths) == {world.registry.path("ropes", 1)}
    await folder_of(files, manifest)
    assert world.registry.read["verify"] == 1


async def test_files_that_cannot_be_read_are_unavailable_and_are_checked_again_later(world: World) -> None:
    files, manifest = files_of(world), world.registry.manifest("ropes", 1)
    world.registry.fault = OSError(5, "Input/output error")
    with pytest.raises(UnavailableError, match=r"files of adapter ropes@1 cannot be read .*Input/output error"):
        await folder_of(files, manifest)
    world.registry.fault = None
    assert await folder_of(files, manifest) == world.registry.path("ropes", 1)


async def test_a_flipped_byte_is_found_before_the_engine_sees_the_file(world: World) -> None:
    files, manifest = files_of(world), world.registry.manifest("ropes", 1)
    weights = world.registry.path("ropes", 1) / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(bytes(content))
    with pytest.raises(GraftworkError, match=r"adapter_model\.safetensors"):
        await folder_of(files, manifest)


async def test_a_version_whose_files_tell_another_story_than_its_manifest_never_reaches_the_engine(
    world: World,
) -> None:
    """Somebody wrote it by hand, hashes and all."""
    folder = world.registry.path("ropes", 1)
    config = json.loads((folder / "adapter_config.json").read_text()) | {"modules_to_save": ["lm_head"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    manifest = json.loads((folder / "manifest.json").read_text())
    record = hash_file(folder / "adapter_config.json")
    manifest["files"]["adapter_config.json"] = record.model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"modules_to_save is \['lm_head'\]"):
        await folder_of(files_of(world), world.registry.manifest("ropes", 1))


async def test_versions_of_a_registry_in_a_folder_are_checked_once_and_nothing_is_pruned(world: World) -> None:
    files, manifest = files_of(world), world.registry.manifest("ropes", 1)
    for _ in range(2):
        folder = await folder_of(files, manifest)
        await files.tidy()
    assert folder.is_dir()
    assert world.registry.read["verify"] == 1
