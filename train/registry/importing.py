"""Adapters that were trained elsewhere come in, and adapters go out as plain PEFT folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from indexer.errors import ConflictError, InputError, NotFoundError
from train.base_model import BaseModelFiles
from train.registry.adapter_config import read_adapter_config
from train.registry.checks import check_servable, check_tensors
from train.registry.layout import ADAPTER_FILES, MANIFEST
from train.registry.manifest import AdapterManifest, EngineRecord, Provenance
from train.registry.publishing import publish_adapter
from train.registry.registry import AdapterRegistry
from train.tensor_headers import read_tensor_headers

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def import_adapter(
    folder: Path,
    *,
    name: str,
    find_base: Callable[[], BaseModelFiles],
    registry: AdapterRegistry,
    max_rank: int,
    make_stable: bool = True,
    check: Callable[[BaseModelFiles], EngineRecord] | None = None,
) -> AdapterManifest:
    """Publish a PEFT LoRA folder as the next version of `name`.

    The base model that adapter_config.json names is a hint that is not read: names and sizes of the tensors, held
    against the base model's own weights, decide whether the adapter fits. (Two fine-tunes of one architecture cannot be
    told apart that way; nothing in a PEFT folder would tell.)

    Args:
        folder: What PEFT's `save_pretrained` wrote.
        name: Name in the registry.
        find_base: Gives the base model; asked only once the folder holds an adapter, for it may have to be unpacked.
        registry: Where it is published.
        max_rank: Highest rank that the server loads.
        make_stable: Whether `name@stable` means the new version.
        check: Loads the adapter in the engine; None: it is published without, neither checked nor marked unverified.

    Raises:
        NotFoundError: There is no such folder.
        InputError: Not safetensors, not plain LoRA, a rank above `max_rank`, or made for another base model.
    """
    if not folder.is_dir():
        raise NotFoundError(f"There is no adapter folder {folder}; give a folder with adapter_config.json.")
    config = read_adapter_config(folder)
    weights = folder / ADAPTER_FILES[0]
    if not weights.is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLED)
        found = f"only {', '.join(pickled)}, which can run code when loaded" if pickled else "none"
        raise InputError(f"{folder} has no {ADAPTER_FILES[0]} ({found}); save the adapter again as safetensors.")
    base = find_base()
    check_servable(config, max_rank=max_rank, base=base)
    check_tensors(read_tensor_headers(weights), rank=config.r, base=base)
    provenance = Provenance(engine=None if check is None else check(base))
    return publish_adapter(
        folder, registry=registry, name=name, base=base, provenance=provenance, make_stable=make_stable
    )


def export_adapter(ref: str, out_dir: Path, *, registry: AdapterRegistry) -> AdapterManifest:
    """Write a version as a PEFT folder, with its manifest beside it, after checking every byte.

    Raises:
        InputError: `ref` is no reference, or the version is damaged.
        NotFoundError: There is no such version.
        ConflictError: `out_dir` exists and is not empty.
    """
    manifest = registry.resolve(ref)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ConflictError(f"{out_dir} is not an empty folder; give one that is empty or does not exist.")
    with registry.fetched(manifest) as source:
        out_dir.mkdir(parents=True, exist_ok=True)
        for file in manifest.files:
            shutil.copyfile(source / file, out_dir / file)
    (out_dir / MANIFEST).write_text(manifest.model_dump_json(indent=2))
    return manifest
