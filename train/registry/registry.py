"""The adapter registry as readers see it: every version immutable, every change visible in one revision number.

    <place>/adapters/<name>/<version>/{adapter_model.safetensors, adapter_config.json, manifest.json}
    <place>/specialists/<name>.json
    <place>/index.json

The place is a folder or a prefix of a bucket; what differs between them is `storage.Storage`. Readers take no lock.
What the index does not name, or has no manifest, does not exist; a place that has adapters or specialists but no index
is damaged, not empty, and neither read nor written. Versions come in by `publishing`, specialists by `applying`, and
`verbs` move pointers; all of them change the index by `AdapterRegistry.change`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from indexer.errors import InputError, NotFoundError
from train.registry.cache import DEFAULT_CACHE_BYTES, AdapterCache, LocalVersion, check_record, default_cache_dir
from train.registry.cache_pruning import Pruned
from train.registry.changes import unknown_version
from train.registry.index import RegistryIndex
from train.registry.index_store import IndexStore, Snapshot
from train.registry.layout import MANIFEST, check_file_names, specialist_key, version_key
from train.registry.local_storage import LocalStorage
from train.registry.manifest import AdapterManifest, parse_manifest
from train.registry.names import parse_ref
from train.registry.object_storage import ObjectStorage
from train.registry.place import ObjectPlace, Place, parse_place, place_of
from train.registry.storage import Storage

# Names that a message tells of a registry that has more.
_SHOWN = 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdapterSummary:
    """One line of a listing.

    Attributes:
        name: The adapter's name.
        versions: Published versions, ascending.
        stable: The version that name@stable means.
    """

    name: str
    versions: tuple[int, ...]
    stable: int | None


class AdapterRegistry:
    """Adapters and specialists at one place. Several processes may read and write at once.

    Every method but `path` raises InputError where the index is broken, or missing although something is published,
    and UnavailableError where a bucket cannot be reached.
    """

    def __init__(
        self, place: Place | str, *, cache_dir: Path | None = None, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        """Remember the place; a folder is made by the first write.

        Args:
            place: A folder, or a bucket's prefix.
            cache_dir: Where versions of a bucket are fetched to; None is a folder among the temporary files.
            cache_bytes: Bytes of versions above which `prune_cache` deletes there.
        """
        self.root: Place = parse_place(place)
        self.storage: Storage = LocalStorage(self.root) if isinstance(self.root, Path) else ObjectStorage(self.root)
        self._index = IndexStore(self.storage)
        self._cache = AdapterCache(self.storage, cache_dir or default_cache_dir(), max_bytes=cache_bytes)

    def list(self) -> list[AdapterSummary]:
        """Return every adapter that has a published version, by name. Reads the index only."""
        return [
            AdapterSummary(name=name, versions=entry.versions, stable=entry.stable)
            for name, entry in sorted(self.index().adapters.items())
        ]

    def manifest(self, name: str, version: int) -> AdapterManifest:
        """Return the manifest of a published version.

        Raises:
            NotFoundError: There is no such version.
            InputError: Its manifest is broken or from a later Graftwork.
        """
        return self.read_manifest(name, version, index=self.index())

    def resolve(self, ref: str) -> AdapterManifest:
        """Return the manifest that "name@3", "name@stable" or "name" means, a canary left aside.

        Raises:
            InputError: `ref` is no reference, or the manifest is broken.
            NotFoundError: There is no such adapter or version.
        """
        wanted = parse_ref(ref)
        index = self.index()
        entry = index.adapters.get(wanted.name)
        version = wanted.version if wanted.version is not None or entry is None else entry.stable
        if entry is None or version is None:
            raise self.unknown_adapter(wanted.name, index)
        return self.read_manifest(wanted.name, version, index=index)

    def unknown_adapter(self, name: str, index: RegistryIndex) -> NotFoundError:
        """The error for an adapter that is not published."""
        known = sorted(index.adapters)
        shown = ", ".join(known[:_SHOWN]) or "none"
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        return NotFoundError(f"There is no adapter {name!r} in {self.root}; published: {shown}{more}.")

    def unknown_specialist(self, name: str, index: RegistryIndex) -> NotFoundError:
        """The error for a specialist that is not applied."""
        known = ", ".join(index.specialists) or "none"
        return NotFoundError(f"There is no specialist {name!r} in {self.root}; known: {known}.")

    def path(self, name: str, version: int) -> Path:
        """Return the folder of a version in a registry that is a folder, whether or not it exists.

        Raises:
            InputError: The name or version could point outside the registry, or the registry is in a bucket.
        """
        folder = self.storage.local_folder(version_key(name, version))
        if folder is None:
            raise InputError(f"The files of {name}@{version} lie in {self.root}; `adapters export` fetches them.")
        return folder

    def where(self, name: str, version: int) -> str:
        """Path or URI of a version's folder, for messages."""
        return place_of(self.root, version_key(name, version))

    def fetch(self, manifest: AdapterManifest) -> LocalVersion:
        """Return a version on this machine's disk, every byte held against its manifest; to be released after use.

        Its folder is the registry's own, or one of the cache where the registry is in a bucket; no other version ever
        lies at its path.

        Raises:
            InputError: A file is missing, changed or foreign, or is a link.
            UnavailableError: The bucket cannot be reached, or the cache cannot be written.
        """
        check_file_names(manifest)
        key = version_key(manifest.name, manifest.version)
        local = self.storage.local_folder(key)
        if local is None:
            return self._cache.fetch(key, manifest)
        self.verify(manifest.name, manifest.version)
        return LocalVersion(local)

    @contextmanager
    def fetched(self, manifest: AdapterManifest) -> Iterator[Path]:
        """The folder of a version for the length of a block, after which the cache is pruned; see `fetch`."""
        version = self.fetch(manifest)
        try:
            yield version.folder
        finally:
            version.release()
            self.prune_cache()

    def prune_cache(self) -> Pruned | None:
        """Delete what is too much of the versions that were fetched; nothing where the registry is a folder.

        Returns:
            What was done; None where another process prunes the cache at this moment.
        """
        return self._cache.prune() if isinstance(self.root, ObjectPlace) else Pruned()

    def verify(self, name: str, version: int) -> None:
        """Read every byte of a version and hold it against its manifest.

        Raises:
            NotFoundError: There is no such version.
            InputError: A file is missing, changed or foreign, or is a link.
        """
        manifest, key = self.manifest(name, version), version_key(name, version)
        check_file_names(manifest)
        found = self.storage.names(key) - {MANIFEST}
        for problem, files in (
            ("lacks", manifest.files.keys() - found),
            ("has foreign files:", found - manifest.files.keys()),
        ):
            if files:
                raise InputError(f"The adapter {manifest.ref} {problem} {', '.join(sorted(files))}; publish it again.")
        records = self.storage.check_files(key, manifest.files)
        for file, record in manifest.files.items():
            check_record(records[file], record, name=file, ref=manifest.ref)

    def snapshot(self) -> Snapshot:
        """Return the index as it is now, with a tag; one read, of the tag alone where nothing changed."""
        return self._index.read()

    def index(self) -> RegistryIndex:
        """Return the index as it is now."""
        return self._index.read().index

    def revision(self) -> int:
        """Return a number that grows with every change of the registry; 0 for an empty one. Reads the index only."""
        return self.index().revision

    def change(self, make: Callable[[RegistryIndex], tuple[RegistryIndex, T]]) -> T:
        """Change the index; see `IndexStore.change`."""
        return self._index.change(make)

    def specialists(self) -> tuple[str, ...]:
        """Return the names of all specialists."""
        return self.index().specialists

    def read_specialist(self, name: str) -> bytes:
        """Return the document of one specialist.

        Raises:
            InputError: A bad name, or a specialist that the index names has no readable document.
            NotFoundError: There is none of this name.
        """
        try:
            return self.storage.read(specialist_key(name)).content
        except OSError as error:
            if isinstance(error, FileNotFoundError) and name not in (index := self.index()).specialists:
                raise self.unknown_specialist(name, index) from error
            reason = error.strerror or "No such object"
            raise InputError(
                f"Specialist '{name}' has no readable document in {self.root} ({reason}); apply it again."
            ) from error

    def read_specialists(self) -> dict[str, bytes]:
        """Return the document of every specialist, by name.

        Raises:
            InputError: A specialist that the index names has no readable document.
        """
        documents: dict[str, bytes] = {}
        for name in self.specialists():
            with suppress(NotFoundError):  # removed since the index was read
                documents[name] = self.read_specialist(name)
        return documents

    def read_manifest(self, name: str, version: int, *, index: RegistryIndex) -> AdapterManifest:
        """Return the manifest of a version that an index names; see `manifest`."""
        key = f"{version_key(name, version)}/{MANIFEST}"
        entry = index.adapters.get(name)
        if entry is None or version not in entry.versions:
            raise unknown_version(name, entry, version, where=self.root)
        try:
            content = self.storage.read(key).content
        except FileNotFoundError as error:
            raise NotFoundError(
                f"The adapter {name}@{version} has no {MANIFEST} in {self.root}; "
                "`graftwork registry check` says what else is missing."
            ) from error
        where = place_of(self.root, key)
        manifest = parse_manifest(content, where=where)
        if (manifest.name, manifest.version) != (name, version):
            raise InputError(f"{where} describes {manifest.ref}, not {name}@{version}; publish the adapter again.")
        return manifest
