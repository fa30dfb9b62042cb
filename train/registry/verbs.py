"""The verbs that move an adapter's pointers: one function each, for the command line and the admin API alike.

Each is one replacement of the index with one event. Two changes of the same pointer at once: one wins, the other gets
a ConflictError that tells the winner's; where something else changed meanwhile, the change is made on top of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from indexer.errors import ConflictError, InputError
from train.base_model import BaseModelFiles
from train.registry import changes
from train.registry.adapter_config import read_adapter_config
from train.registry.author import user_name
from train.registry.changes import Change
from train.registry.checks import check_manifest, check_servable, check_tensors, check_verified
from train.registry.index import AdapterEntry, Event, RegistryIndex, Verb
from train.registry.layout import ADAPTER_FILES, version_key
from train.registry.manifest import AdapterManifest
from train.registry.names import AdapterRef, check_name, parse_ref
from train.registry.registry import AdapterRegistry
from train.registry.specialists import named_adapters, parse_document
from train.tensor_headers import read_tensor_headers


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb did.

    Attributes:
        name: The adapter.
        entry: What the index says of it now.
        revision: Revision of the registry now.
        event: The change; None where all was so already and nothing was written.
    """

    name: str
    entry: AdapterEntry
    revision: int
    event: Event | None


def promote(registry: AdapterRegistry, ref: str, *, who: str | None = None) -> Outcome:
    """Let name@stable mean the version of "name@3"; the former one is remembered, a canary of the version ends.

    Raises:
        InputError: The reference names no version, or its manifest is broken.
        NotFoundError: There is no such version, or it is retired.
        ConflictError: Another changed the stable version meanwhile.
    """
    name, version = _version_of(ref)
    return _change(
        registry,
        "promote",
        name,
        lambda entry: changes.promote(name, entry, version),
        who=who,
        needs=version,
        pointer=lambda entry: entry.stable,
    )


def rollback(registry: AdapterRegistry, name: str, *, who: str | None = None) -> Outcome:
    """Let name@stable mean the version that was stable before.

    Raises:
        InputError: A bad name.
        NotFoundError: There is no such adapter, or it has no former stable version.
        ConflictError: The former one is retired, or another changed the stable version meanwhile.
    """
    return _change(
        registry,
        "rollback",
        check_name(name),
        lambda entry: changes.rollback(name, entry),
        who=who,
        pointer=lambda entry: entry.stable,
    )


def canary(registry: AdapterRegistry, ref: str, *, percent: int, who: str | None = None) -> Outcome:
    """Let name@stable mean the version of "name@4" for a share of the users; 0 percent ends it.

    Raises:
        InputError: The reference names no version, or the stable one, or `percent` is no percentage.
        NotFoundError: There is no such version, it is retired, or there is no canary of it to end.
        ConflictError: Another version is on trial, or another changed the canary meanwhile.
    """
    name, version = _version_of(ref)
    return _change(
        registry,
        "canary",
        name,
        lambda entry: changes.set_canary(name, entry, version, percent=percent),
        who=who,
        needs=version if percent else None,
        pointer=lambda entry: entry.canary,
    )


def pin(registry: AdapterRegistry, ref: str, *, who: str | None = None) -> Outcome:
    """Let replicas keep the version of "name@3" loaded.

    Raises:
        InputError: The reference names no version, or its manifest is broken.
        NotFoundError: There is no such version, or it is retired.
    """
    name, version = _version_of(ref)
    return _change(registry, "pin", name, lambda entry: changes.pin(name, entry, version), who=who, needs=version)


def unpin(registry: AdapterRegistry, ref: str, *, who: str | None = None) -> Outcome:
    """Let replicas unload the version of "name@3" again.

    Raises:
        InputError: The reference names no version.
        NotFoundError: It is not pinned.
    """
    name, version = _version_of(ref)
    return _change(registry, "unpin", name, lambda entry: changes.unpin(name, entry, version), who=who)


def retire(registry: AdapterRegistry, ref: str, *, who: str | None = None) -> Outcome:
    """Serve the version of "name@3" no more; its files stay.

    Raises:
        InputError: The reference names no version.
        NotFoundError: There is no such version, or it is retired already.
        ConflictError: It is stable, the canary, or a specialist names it.
    """
    name, version = _version_of(ref)
    return _change(
        registry,
        "retire",
        name,
        lambda entry: changes.retire(name, entry, version, named_by=specialists_adapters(registry)),
        who=who,
    )


def verify(
    registry: AdapterRegistry, ref: str, *, base: BaseModelFiles, max_rank: int, allow_unverified: bool = False
) -> AdapterManifest:
    """Read every byte of a version, hold it against its manifest, and see that the base can serve it.

    Raises:
        InputError: A file is missing, changed or foreign, the version cannot be served on this base, or it is
            unverified where that is not allowed.
        NotFoundError: There is no such version.
        UnavailableError: The registry's bucket cannot be reached.
    """
    manifest = registry.resolve(ref)
    if not allow_unverified:
        check_verified(manifest)
    registry.verify(manifest.name, manifest.version)
    folder = registry.storage.local_folder(version_key(manifest.name, manifest.version))
    with nullcontext(folder) if folder is not None else registry.fetched(manifest) as local:
        check_folder(local, manifest, base=base, max_rank=max_rank)
    return manifest


def check_folder(folder: Path, manifest: AdapterManifest, *, base: BaseModelFiles, max_rank: int) -> None:
    """See that a version's folder can be served: its base, its rank, its configuration and its tensors.

    Raises:
        InputError: One of them does not fit; says which.
    """
    check_manifest(manifest, max_rank=max_rank, base=base)
    config = read_adapter_config(folder)
    check_servable(config, max_rank=max_rank, base=base)
    if config.r != manifest.rank:
        raise InputError(
            f"The adapter {manifest.ref} has rank {config.r}, its manifest says {manifest.rank}; publish it again."
        )
    check_tensors(read_tensor_headers(folder / ADAPTER_FILES[0]), rank=config.r, base=base)


def events(registry: AdapterRegistry, *, name: str | None = None) -> tuple[Event, ...]:
    """The changes that the index keeps, the latest last; of one adapter where it is named.

    Raises:
        NotFoundError: There is no such adapter.
    """
    index = registry.index()
    if name is not None and name not in index.adapters:
        raise registry.unknown_adapter(name, index)
    return tuple(event for event in index.events if name is None or event.adapter == name)


def describe(name: str, entry: AdapterEntry) -> dict[str, JsonValue]:
    """What the index says of an adapter, every field, as JSON."""
    return {
        "name": name,
        "versions": list(entry.versions),
        "stable": entry.stable,
        "former": list(entry.former),
        "canary": None if entry.canary is None else entry.canary.model_dump(),
        "retired": list(entry.retired),
        "pinned": list(entry.pinned),
    }


def specialists_adapters(registry: AdapterRegistry) -> dict[str, tuple[str, ...]]:
    """References to adapter versions that each specialist of a registry names."""
    return {
        name: named_adapters(parse_document(name, document)) for name, document in registry.read_specialists().items()
    }


def _version_of(ref: str) -> tuple[str, int]:
    parsed: AdapterRef = parse_ref(ref)
    if parsed.version is None:
        raise InputError(f"{ref!r} names no one version; write {parsed.name}@1 for a number.")
    return parsed.name, parsed.version


def _change(
    registry: AdapterRegistry,
    verb: Verb,
    name: str,
    decide: Callable[[AdapterEntry], Change],
    *,
    who: str | None,
    needs: int | None = None,
    pointer: Callable[[AdapterEntry], object] = lambda _: None,
) -> Outcome:
    """Change one entry.

    Args:
        registry: Where.
        verb: The verb, for the event.
        name: The adapter.
        decide: What the entry becomes; called again where another writer was quicker.
        who: Who does it; None is the user of this process.
        needs: A version whose manifest must be readable.
        pointer: What of the entry must still be as it was when this began.
    """
    first = registry.index()
    seen = _entry_of(registry, name, first)
    decide(seen)
    if needs is not None:
        registry.read_manifest(name, needs, index=first)

    def make(index: RegistryIndex) -> tuple[RegistryIndex, Outcome]:
        entry = _entry_of(registry, name, index)
        if pointer(entry) != pointer(seen):
            raise _conflict(verb, name, index)
        change = decide(entry)
        if change.entry == entry:
            return index, Outcome(name, entry, index.revision, None)
        changed = index.with_entry(name, change.entry).recorded(
            verb,
            who=who or user_name(),
            at=datetime.now(UTC),
            adapter=name,
            before=change.before,
            after=change.after,
        )
        return changed, Outcome(name, change.entry, changed.revision, changed.events[-1])

    return registry.change(make)


def _entry_of(registry: AdapterRegistry, name: str, index: RegistryIndex) -> AdapterEntry:
    entry = index.adapters.get(name)
    if entry is None:
        raise registry.unknown_adapter(name, index)
    return entry


def _conflict(verb: str, name: str, index: RegistryIndex) -> ConflictError:
    last = next((event for event in reversed(index.events) if event.adapter == name), None)
    if last is None:
        return ConflictError(f"Another changed {name} at the same time; nothing was changed here, look and try again.")
    return ConflictError(
        f"This {verb} was not made: {last.who} changed {name} at the same time ({last.verb}, from "
        f"{last.before or 'none'} to {last.after or 'none'}, revision {last.revision}); look and try again."
    )
