"""Publishing: an adapter folder becomes the next version of a name.

The index first gives out a version number and an engine id; then come the version's files, its manifest next, and the
index again last. One that dies on the way leaves nothing that readers see, and its number is not used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from indexer.errors import ConflictError, UnavailableError
from train.base_model import BaseModelFiles
from train.registry.adapter_config import read_adapter_config
from train.registry.author import code_version, user_name
from train.registry.changes import add_version
from train.registry.checks import check_servable, check_tensors
from train.registry.index import RegistryIndex
from train.registry.layout import ADAPTER_FILES, MANIFEST, version_key
from train.registry.manifest import AdapterManifest, Provenance
from train.registry.names import check_name
from train.registry.registry import AdapterRegistry
from train.registry.storage import ChangedError, Storage
from train.tensor_headers import read_tensor_headers


def publish_adapter(
    source: Path,
    *,
    registry: AdapterRegistry,
    name: str,
    base: BaseModelFiles,
    provenance: Provenance,
    scores: Mapping[str, float] | None = None,
    make_stable: bool = True,
) -> AdapterManifest:
    """Copy an adapter folder into a registry as the next version of `name`.

    The first version of a name becomes stable whatever `make_stable` says.

    Raises:
        InputError: A bad name, a missing or unreadable file, an adapter that could never be served on this base, or
            a registry that lost its index.
        ConflictError: Other writers held the registry for a minute, or changed it time after time.
        UnavailableError: The registry's bucket cannot be reached.
    """
    check_name(name)
    config = read_adapter_config(source)
    check_servable(config, max_rank=config.r, base=base)
    targets = check_tensors(read_tensor_headers(source / ADAPTER_FILES[0]), rank=config.r, base=base)
    who = provenance.created_by or user_name()
    version, engine_id = _reserve(registry, name)
    folder = version_key(name, version)
    try:
        files = registry.storage.put_files(folder, source, ADAPTER_FILES)
    except BaseException:
        _take_back(registry.storage, folder)
        raise
    manifest = AdapterManifest(
        name=name,
        version=version,
        engine_id=engine_id,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        chat_template_hash=base.chat_template_hash,
        rank=config.r,
        alpha=config.lora_alpha,
        target_modules=targets,
        files=files,
        dataset=provenance.dataset,
        scores=None if scores is None else dict(scores),
        training=provenance.training,
        engine=provenance.engine,
        unverified=provenance.unverified,
        created_at=datetime.now(UTC),
        created_by=who,
        code_version=code_version(),
    )
    _write_manifest(registry.storage, folder, manifest)
    registry.change(lambda index: (_with_version(index, manifest, make_stable=make_stable, who=who), None))
    return manifest


def _reserve(registry: AdapterRegistry, name: str) -> tuple[int, int]:
    """Have the index give out a version number and an engine id; a number whose folder is taken is left out."""
    above = 0
    while True:
        version, engine_id = registry.change(partial(_reserved, name=name, above=above))
        if not registry.storage.names(version_key(name, version)):
            return version, engine_id
        taken = registry.storage.names(f"adapters/{name}")
        above = max((int(number) for number in taken if number.isdecimal()), default=version)


def _reserved(index: RegistryIndex, *, name: str, above: int) -> tuple[RegistryIndex, tuple[int, int]]:
    changed, version, engine_id = index.reserving(name, above=above)
    return changed, (version, engine_id)


def _take_back(storage: Storage, folder: str) -> None:
    """Delete what a publish that failed has copied so far; what cannot be deleted is for `registry repair`."""
    for file in ADAPTER_FILES:
        with suppress(OSError, UnavailableError):
            storage.delete(f"{folder}/{file}")


def _write_manifest(storage: Storage, folder: str, manifest: AdapterManifest) -> None:
    try:
        storage.replace(f"{folder}/{MANIFEST}", manifest.model_dump_json(indent=2).encode(), tag=None)
    except ChangedError as error:
        raise ConflictError(
            f"Another writer made {manifest.ref} in {storage.place} meanwhile, with a number that was given to this "
            "one; publish again, and let no program but Graftwork write there."
        ) from error


def _with_version(index: RegistryIndex, manifest: AdapterManifest, *, make_stable: bool, who: str) -> RegistryIndex:
    """The index with a version whose manifest is written."""
    former = index.adapters.get(manifest.name)
    entry = add_version(former, manifest.version, make_stable=make_stable)
    stable = former.stable if former is not None else None
    changed = index.with_entry(manifest.name, entry).model_copy(
        update={"next_engine_id": max(index.next_engine_id, manifest.engine_id + 1)}
    )
    return changed.recorded(
        "publish",
        who=who,
        at=datetime.now(UTC),
        adapter=manifest.name,
        before=None if stable is None else f"{stable} stable",
        after=f"{manifest.version}{' stable' if entry.stable == manifest.version else ''}",
    )
