"""Holds the index against what really lies in the registry, and mends what can be mended without losing anything.

What another writer may be in the middle of is left alone: only what has not changed for a while is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from indexer.errors import GraftworkError, InputError, NotFoundError
from train.registry.author import user_name
from train.registry.changes import add_version, without_pin
from train.registry.index import AdapterEntry, RegistryIndex
from train.registry.layout import INDEX, MANIFEST, check_file_names, version_key
from train.registry.manifest import AdapterManifest, parse_manifest
from train.registry.names import VERSION, check_name, is_name
from train.registry.place import place_of
from train.registry.registry import AdapterRegistry
from train.registry.specialists import named_adapters, parse_document
from train.registry.storage import Held

# Longer than any upload takes.
SETTLED = timedelta(hours=1)

Kind = Literal[
    "not in index",
    "no manifest",
    "half-written",
    "broken",
    "leftover",
    "no document",
    "document not in index",
    "engine id twice",
    "engine id ahead",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit.

    Attributes:
        kind: What kind of thing it is.
        what: The version, specialist or key that it is about.
        text: What is wrong, in a sentence without its full stop.
        mend: What `repair` would do; None where it does nothing.
    """

    kind: Kind
    what: str
    text: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class _Version:
    """What lies below one version's key."""

    name: str
    version: int
    keys: tuple[str, ...]
    modified: datetime

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def has_manifest(self) -> bool:
        return any(key.endswith(f"/{MANIFEST}") for key in self.keys)


@dataclass(frozen=True, slots=True)
class _Found:
    """All that lies in a registry.

    Attributes:
        versions: Versions by reference.
        documents: Specialists by name.
        leftovers: What is none of them.
    """

    versions: dict[str, _Version]
    documents: dict[str, Held]
    leftovers: tuple[Held, ...]


def check(registry: AdapterRegistry, *, settled: timedelta = SETTLED) -> tuple[Problem, ...]:
    """Hold the index against what lies in the registry; reads every manifest, changes nothing.

    Args:
        registry: The registry.
        settled: What changed less than this ago may be in the making, and is no problem yet.

    Raises:
        InputError: The index is broken or lost.
        UnavailableError: The place cannot be reached.
    """
    index, found = registry.index(), _look(registry)
    before = datetime.now(UTC) - settled
    return (
        *_versions(registry, index, found, before=before),
        *_specialists(index, found),
        *_rest(found, before=before),
    )


def repair(
    registry: AdapterRegistry, *, settled: timedelta = SETTLED, who: str | None = None
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Mend what `check` finds and says it would mend; the index is changed once, with one event.

    Returns:
        The problems that were mended, and those that are left.

    Raises:
        ConflictError: Other writers changed the registry time after time.
        InputError: The index is broken or lost.
        UnavailableError: The place cannot be reached.
    """
    problems = check(registry, settled=settled)
    mended = tuple(problem for problem in problems if problem.mend is not None)
    manifests = {
        problem.what: _manifest(registry, problem.what) for problem in mended if problem.kind == "not in index"
    }
    gone = {problem.what for problem in mended if problem.kind == "no manifest"}
    ahead = any(problem.kind == "engine id ahead" for problem in mended)
    if manifests or gone or ahead:
        highest = _highest_engine_id(registry)
        registry.change(lambda index: (_mended(index, manifests, gone, highest=highest, who=who or user_name()), None))
    for problem in mended:
        if problem.kind in ("half-written", "leftover"):
            for key in _keys_of(registry, problem):
                registry.storage.delete(key)
    return mended, tuple(problem for problem in problems if problem.mend is None)


def _look(registry: AdapterRegistry) -> _Found:
    parts: dict[tuple[str, int], list[Held]] = {}
    documents: dict[str, Held] = {}
    leftovers: list[Held] = []
    for held in registry.storage.held("adapters"):
        match held.key.split("/"):
            case [_, name, version, *_] if is_name(name) and VERSION.fullmatch(version):
                parts.setdefault((name, int(version)), []).append(held)
            case [_] | [_, _] if held.key.rpartition("/")[2][0] != ".":
                continue  # a folder, empty
            case _:
                leftovers.append(held)
    for held in registry.storage.held("specialists"):
        name = held.key.partition("/")[2].removesuffix(".json")
        if held.key.endswith(".json") and is_name(name):
            documents[name] = held
        elif "/" in held.key:
            leftovers.append(held)
    for key in registry.storage.names(""):
        if key.startswith(f".{INDEX}."):
            leftovers += registry.storage.held(key)
    versions = {
        f"{name}@{version}": _Version(
            name, version, tuple(held.key for held in helds), max(held.modified for held in helds)
        )
        for (name, version), helds in sorted(parts.items())
    }
    return _Found(versions, documents, tuple(leftovers))


def _versions(registry: AdapterRegistry, index: RegistryIndex, found: _Found, *, before: datetime) -> Iterator[Problem]:
    ids: dict[int, str] = {}
    highest = 0
    for ref, version in found.versions.items():
        named = _is_named(index, version.name, version.version)
        if not version.has_manifest:
            if not named and version.modified <= before:
                text = f"{ref} has files and no {MANIFEST}: whoever published it did not finish"
                yield Problem("half-written", ref, text, "delete its files")
            continue
        try:
            manifest = _manifest(registry, ref)
            check_file_names(manifest)
        except GraftworkError as error:
            yield Problem("broken", ref, str(error).rstrip("."))
            continue
        twin = ids.setdefault(manifest.engine_id, ref)
        highest = max(highest, manifest.engine_id)
        if twin != ref:
            text = f"{ref} and {twin} both have the engine id {manifest.engine_id}: no engine can hold both"
            yield Problem("engine id twice", ref, text)
        elif not named and version.modified <= before:
            yield _not_in_index(registry, ref)
    if highest >= index.next_engine_id:
        text = f"the next engine id is {index.next_engine_id}, and {ids[highest]} has {highest} already"
        yield Problem("engine id ahead", INDEX, text, f"count on from {highest + 1}")
    yield from _without_manifest(registry, index, found)


def _not_in_index(registry: AdapterRegistry, ref: str) -> Problem:
    name, _, version = ref.partition("@")
    text = f"{ref} is whole, and the index does not name it: whoever published it did not finish"
    try:
        manifest = _manifest(registry, ref)
        records = registry.storage.check_files(version_key(name, int(version)), manifest.files)
        damaged = sorted(file for file, record in manifest.files.items() if records[file] != record)
    except (InputError, FileNotFoundError) as error:
        return Problem("broken", ref, f"{ref} is not in the index, and a file of it is missing or foreign ({error})")
    if damaged:
        return Problem("broken", ref, f"{ref} is not in the index, and {', '.join(damaged)} is not as published")
    return Problem("not in index", ref, text, "name it in the index")


def _without_manifest(registry: AdapterRegistry, index: RegistryIndex, found: _Found) -> Iterator[Problem]:
    users: dict[str, list[str]] = {}
    for specialist, refs in _specialists_adapters(registry, index).items():
        for ref in refs:
            users.setdefault(ref, []).append(specialist)
    for name, entry in sorted(index.adapters.items()):
        for version in entry.live:
            ref = f"{name}@{version}"
            if ref in found.versions and found.versions[ref].has_manifest:
                continue
            text = f"the index names {ref}, which has no {MANIFEST}"
            if role := _role(entry, version, users.get(ref, [])):
                yield Problem("no manifest", ref, f"{text}, and it is {role}; put its files back, or point elsewhere")
            else:
                yield Problem("no manifest", ref, text, "retire it")


def _role(entry: AdapterEntry, version: int, users: list[str]) -> str | None:
    if entry.stable == version:
        return "stable"
    if entry.canary is not None and entry.canary.version == version:
        return "the canary"
    return f"named by the specialist {', '.join(sorted(users))}" if users else None


def _specialists(index: RegistryIndex, found: _Found) -> Iterator[Problem]:
    for name in index.specialists:
        if name not in found.documents:
            text = f"the index names the specialist {name}, which has no document; apply or remove it"
            yield Problem("no document", name, text)
    for name in sorted(found.documents.keys() - set(index.specialists)):
        text = f"the specialist {name} has a document, and the index does not name it; apply it again or delete it"
        yield Problem("document not in index", name, text)


def _rest(found: _Found, *, before: datetime) -> Iterator[Problem]:
    for held in found.leftovers:
        if held.modified <= before:
            # A name that begins with a dot is one that a writer gave to what it had not put in place yet.
            ours = held.key.rpartition("/")[2].startswith(".") or "/.staging-" in held.key
            text = f"{held.key} is no part of an adapter or specialist"
            yield Problem("leftover", held.key, text, "delete it" if ours else None)


def _mended(
    index: RegistryIndex, manifests: dict[str, AdapterManifest], gone: set[str], *, highest: int, who: str
) -> RegistryIndex:
    """The index with versions that were missing, and without those whose manifest is."""
    done: list[str] = []
    twins = Counter(manifest.engine_id for manifest in manifests.values())
    for ref, manifest in manifests.items():
        entry = index.adapters.get(manifest.name, AdapterEntry(versions=()))
        if not entry.has(manifest.version) and twins[manifest.engine_id] == 1:
            index = index.with_entry(manifest.name, add_version(entry, manifest.version, make_stable=False))
            done.append(f"{ref} named")
    for ref in sorted(gone):
        name, _, version = ref.partition("@")
        entry = index.adapters[name]
        if entry.serves(int(version)) and _role(entry, int(version), []) is None:
            index = index.with_entry(name, without_pin(entry, int(version), retired=True))
            done.append(f"{ref} retired")
    if highest >= index.next_engine_id:
        index = index.model_copy(update={"next_engine_id": highest + 1})
        done.append(f"engine ids from {highest + 1}")
    if not done:
        return index
    return index.recorded("repair", who=who, at=datetime.now(UTC), after=", ".join(done))


def _highest_engine_id(registry: AdapterRegistry) -> int:
    highest = 0
    for held in registry.storage.held("adapters"):
        if held.key.endswith(f"/{MANIFEST}"):
            try:
                manifest = parse_manifest(registry.storage.read(held.key).content, where=held.key)
            except (InputError, FileNotFoundError):
                continue  # `check` has told of it
            highest = max(highest, manifest.engine_id)
    return highest


def _manifest(registry: AdapterRegistry, ref: str) -> AdapterManifest:
    """The manifest that lies at a version's place, whether or not the index names it."""
    name, _, version = ref.partition("@")
    key = f"{version_key(check_name(name), int(version))}/{MANIFEST}"
    where = place_of(registry.root, key)
    try:
        manifest = parse_manifest(registry.storage.read(key).content, where=where)
    except OSError as error:
        raise InputError(f"{where} cannot be read ({error.strerror or error}).") from error
    if manifest.ref != ref:
        raise InputError(f"{where} describes {manifest.ref}, not {ref}.")
    return manifest


def _specialists_adapters(registry: AdapterRegistry, index: RegistryIndex) -> dict[str, tuple[str, ...]]:
    """References that each specialist names whose document can be read; of others `check` tells, they do not serve."""
    found: dict[str, tuple[str, ...]] = {}
    for name in index.specialists:
        with suppress(InputError, NotFoundError):
            found[name] = named_adapters(parse_document(name, registry.read_specialist(name)))
    return found


def _is_named(index: RegistryIndex, name: str, version: int) -> bool:
    entry = index.adapters.get(name)
    return entry is not None and entry.has(version)


def _keys_of(registry: AdapterRegistry, problem: Problem) -> tuple[str, ...]:
    if problem.kind == "leftover":
        return (problem.what,)
    name, _, version = problem.what.partition("@")
    return tuple(held.key for held in registry.storage.held(version_key(name, int(version))))
