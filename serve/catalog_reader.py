"""Reads a registry into a catalogue: the index, the specialists, and the manifests that will be asked for first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from indexer.errors import GraftworkError, InputError, NotFoundError, UnavailableError
from serve.catalog import Catalog
from serve.specialist import Specialist, parse_specialist
from train.base_model import BaseModelFiles
from train.registry.checks import check_manifest, check_verified
from train.registry.index import AdapterEntry, RegistryIndex
from train.registry.manifest import AdapterManifest
from train.registry.registry import AdapterRegistry

# Objects of a bucket that are asked for at once; one takes some 20 ms, whatever else is asked for.
_AT_ONCE = 8
# Stable versions that nobody names, whose manifests are read beforehand: a second's worth on a slow store.
EAGER_STABLE = 256


def read_catalog(
    registry: AdapterRegistry,
    *,
    base_name: str,
    base: BaseModelFiles,
    max_lora_rank: int,
    allow_unverified: bool = False,
    manifests: dict[str, AdapterManifest] | None = None,
) -> Catalog:
    """Read a registry into a catalogue.

    Of its manifests only those are read that will be asked for: see `first_wanted`. A specialist or adapter that cannot
    be served is left out and its reason recorded, so that one bad document never takes the others down.

    Args:
        registry: Where adapters and specialists are.
        base_name: Name of the base model as served.
        base: The base model's files; adapters for another are left out.
        max_lora_rank: The engine's limit; adapters above it are left out.
        allow_unverified: Take adapters, too, that were published without the engine check.
        manifests: Manifests read before, by reference; they never change. New ones are added here.

    Returns:
        The catalogue; its `adapters` and `problems` are new dictionaries.

    Raises:
        InputError: The index is broken.
        UnavailableError: The registry went away while it was read.
        OSError: The index cannot be read.
    """
    index = registry.index()
    problems: dict[str, str] = {}
    specialists = _read_specialists(registry, index, base_name=base_name, out=problems)
    known = manifests if manifests is not None else {}
    missing = [ref for ref in first_wanted(index.adapters, specialists) if ref not in known]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for ref, found in zip(missing, pool.map(lambda ref: _read_one(registry, ref, index), missing), strict=True):
            if isinstance(found, str):
                problems[ref] = found
            else:
                known[ref] = found
    adapters: dict[str, AdapterManifest] = {}
    for ref, manifest in list(known.items()):
        if _is_live(manifest, index.adapters):
            problem = why_unservable(
                manifest, base=base, max_lora_rank=max_lora_rank, allow_unverified=allow_unverified
            )
            if problem is None:
                adapters[ref] = manifest
            else:
                problems[ref] = problem
    if registry.revision() < index.revision:
        raise UnavailableError(f"The registry {registry.root} went away while it was read; check that it is mounted.")
    return Catalog(
        revision=index.revision,
        base_name=base_name,
        specialists=specialists,
        adapters=adapters,
        problems=problems,
        entries=index.adapters,
    )


def first_wanted(entries: Mapping[str, AdapterEntry], specialists: Mapping[str, Specialist]) -> tuple[str, ...]:
    """References of the versions whose manifests are read before anyone asks.

    All that are pinned, on trial or named by a specialist, and of the others that are stable the first `EAGER_STABLE`.
    """
    wanted = [
        *(f"{name}@{version}" for name, entry in entries.items() for version in entry.pinned),
        *(f"{name}@{entry.canary.version}" for name, entry in entries.items() if entry.canary is not None),
        *_named(entries, specialists),
    ]
    stable = (f"{name}@{entry.stable}" for name, entry in sorted(entries.items()) if entry.stable is not None)
    chosen = dict.fromkeys(wanted)
    return (*chosen, *islice((ref for ref in stable if ref not in chosen), EAGER_STABLE))


def why_unservable(
    manifest: AdapterManifest, *, base: BaseModelFiles, max_lora_rank: int, allow_unverified: bool
) -> str | None:
    """Why a version cannot be served here; None where it can."""
    try:
        check_manifest(manifest, max_rank=max_lora_rank, base=base)
        if not allow_unverified:
            check_verified(manifest)
    except GraftworkError as error:
        return str(error)
    return None


def _named(entries: Mapping[str, AdapterEntry], specialists: Mapping[str, Specialist]) -> Iterator[str]:
    for specialist in specialists.values():
        for ref in specialist.adapter_refs:
            name, _, version = ref.partition("@")
            entry = entries.get(name)
            if entry is None:
                continue
            number = int(version) if version.isdecimal() else entry.stable
            if number is not None and entry.serves(number):
                yield f"{name}@{number}"


def _is_live(manifest: AdapterManifest, entries: Mapping[str, AdapterEntry]) -> bool:
    entry = entries.get(manifest.name)
    return entry is not None and entry.serves(manifest.version)


def _read_one(registry: AdapterRegistry, ref: str, index: RegistryIndex) -> AdapterManifest | str:
    """A manifest, or why it cannot be read."""
    name, _, version = ref.partition("@")
    try:
        return registry.read_manifest(name, int(version), index=index)
    except GraftworkError as error:
        return str(error)
    except OSError as error:
        return f"The manifest of adapter {ref} cannot be read ({error.strerror}); publish it again."


def _read_specialists(
    registry: AdapterRegistry, index: RegistryIndex, *, base_name: str, out: dict[str, str]
) -> dict[str, Specialist]:
    specialists: dict[str, Specialist] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for name, found in zip(
            index.specialists,
            pool.map(lambda name: _read_specialist(registry, name, base_name=base_name), index.specialists),
            strict=True,
        ):
            if isinstance(found, str):
                out[name] = found
            elif found is not None:
                specialists[name] = found
    return specialists


def _read_specialist(registry: AdapterRegistry, name: str, *, base_name: str) -> Specialist | str | None:
    """A specialist, why it cannot be served, or None where it was removed since its name was read."""
    try:
        document = registry.read_specialist(name)
        specialist = parse_specialist(document, source=f"specialist '{name}' of the registry")
        if specialist.base != base_name:
            raise InputError(f"Specialist '{name}' grafts onto base '{specialist.base}', but '{base_name}' is served.")
    except NotFoundError:
        return None
    except InputError as error:
        return str(error)
    return specialist
