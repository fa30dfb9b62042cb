"""A registry of very many versions, made without publishing each."""

from __future__ import annotations

from pathlib import Path

from tests.train.conftest import write_adapter
from train.base_model import BaseModelFiles
from train.registry import AdapterRegistry, Provenance, publish_adapter
from train.registry.index import AdapterEntry, RegistryIndex, write_index


def many_versions(
    root: Path, *, base: BaseModelFiles, names: int, versions: int, whole: bool = True
) -> AdapterRegistry:
    """Adapters `a0`, `a1`, ... of as many versions each, the last of them stable; weights are links to the first's.

    Args:
        root: The registry's folder.
        base: The base model that they fit.
        names: Adapters.
        versions: Versions of each.
        whole: Whether every version has its files, or only the first adapter's first and those that are stable.
    """
    registry = AdapterRegistry(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    publish_adapter(
        write_adapter(root.parent / "source"), registry=registry, name="a0", base=base, provenance=Provenance()
    )
    first = registry.manifest("a0", 1)
    index, engine_id = RegistryIndex(revision=1), 0
    entry = AdapterEntry(versions=tuple(range(1, versions + 1)), stable=versions)
    for number in range(names):
        name = f"a{number}"
        for version in range(1, versions + 1):
            engine_id += 1
            if not whole and version != versions and (number, version) != (0, 1):
                continue
            folder = root / "adapters" / name / str(version)
            folder.mkdir(parents=True, exist_ok=True)
            manifest = first.model_copy(update={"name": name, "version": version, "engine_id": engine_id})
            (folder / "manifest.json").write_text(manifest.model_dump_json())
            for file in first.files:
                if not (folder / file).exists():
                    (folder / file).hardlink_to(root / "adapters" / "a0" / "1" / file)
        index.adapters[name] = entry
    index = index.model_copy(update={"next_engine_id": engine_id + 1})
    (root / "index.json").write_bytes(write_index(index))
    return AdapterRegistry(root)
