"""The adapter registry on a file system: every version immutable, every change visible in one revision number.

    <root>/adapters/<name>/<version>/{adapter_model.safetensors, adapter_config.json, manifest.json}
    <root>/specialists/<name>.json
    <root>/index.json

Readers take no lock. Writers hold <root>/.lock; an empty registry's index comes first, then a version's files, its
manifest next, and the index again last. What the index does not name, or has no manifest, does not exist; a root that
has adapters or specialists but no index is damaged, not empty, and neither read nor written.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from indexer.errors import InputError, NotFoundError
from train.base_model import BaseModelFiles
from train.registry.adapter_config import read_adapter_config
from train.registry.checks import check_servable, check_tensors
from train.registry.files import copy_hashed, exclusive, hash_file, replace_file
from train.registry.index import RegistryIndex, parse_index
from train.registry.manifest import AdapterManifest, FileRecord, Provenance, parse_manifest
from train.registry.names import check_name, parse_ref
from train.tensor_headers import read_tensor_headers

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
_MANIFEST = "manifest.json"


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
    """Adapters and specialists below one folder. Several processes may read and write at once.

    Every method but `path` raises InputError where the index is broken, or missing although something is published.
    """

    def __init__(self, root: Path) -> None:
        """Remember the folder; it is made by the first write."""
        self.root = root

    def publish(
        self,
        source: Path,
        *,
        name: str,
        base: BaseModelFiles,
        provenance: Provenance,
        scores: dict[str, float] | None = None,
        make_stable: bool = True,
    ) -> AdapterManifest:
        """Copy an adapter folder in as the next version of `name`.

        The first version of a name becomes stable whatever `make_stable` says.

        Raises:
            InputError: A bad name, a missing or unreadable file, an adapter that could never be served on this base, or
                a registry that lost its index.
            ConflictError: Another writer held the registry for a minute.
        """
        check_name(name)
        config = read_adapter_config(source)
        check_servable(config, max_rank=config.r, base=base)
        targets = check_tensors(read_tensor_headers(source / ADAPTER_FILES[0]), rank=config.r, base=base)
        folder = self.root / "adapters" / name
        folder.mkdir(parents=True, exist_ok=True)
        staging = folder / f".staging-{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            files = {file: copy_hashed(source / file, staging / file) for file in ADAPTER_FILES}
            with self._writing() as index:
                manifest = AdapterManifest(
                    name=name,
                    version=_next_version(folder),
                    engine_id=index.next_engine_id,
                    base_model=base.name,
                    base_fingerprint=base.fingerprint,
                    chat_template_hash=base.chat_template_hash,
                    rank=config.r,
                    alpha=config.lora_alpha,
                    target_modules=targets,
                    files=files,
                    dataset=provenance.dataset,
                    scores=scores,
                    training=provenance.training,
                    created_at=datetime.now(UTC),
                    created_by=provenance.created_by or _user(),
                    code_version=_code_version(),
                )
                target = folder / str(manifest.version)
                os.rename(staging, target)
                replace_file(target / _MANIFEST, manifest.model_dump_json(indent=2).encode())
                self._write_index(
                    index.with_version(name, manifest.version, engine_id=manifest.engine_id, make_stable=make_stable)
                )
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return manifest

    def list(self) -> list[AdapterSummary]:
        """Return every adapter that has a published version, by name. Reads the index only."""
        return [
            AdapterSummary(name=name, versions=entry.versions, stable=entry.stable)
            for name, entry in sorted(self._read_index().adapters.items())
        ]

    def manifest(self, name: str, version: int) -> AdapterManifest:
        """Return the manifest of a published version.

        Raises:
            NotFoundError: There is no such version.
            InputError: Its manifest is broken or from a later Graftwork.
        """
        return self._manifest(name, version, index=self._read_index())

    def resolve(self, ref: str) -> AdapterManifest:
        """Return the manifest that "name@3", "name@stable" or "name" means.

        Raises:
            InputError: `ref` is no reference, or the manifest is broken.
            NotFoundError: There is no such adapter or version.
        """
        wanted = parse_ref(ref)
        index = self._read_index()
        entry = index.adapters.get(wanted.name)
        version = wanted.version if wanted.version is not None or entry is None else entry.stable
        if entry is None or version is None:
            known = ", ".join(sorted(index.adapters)) or "none"
            raise NotFoundError(f"There is no adapter {wanted.name!r} in {self.root}; published: {known}.")
        return self._manifest(wanted.name, version, index=index)

    def path(self, name: str, version: int) -> Path:
        """Return the folder of a version, whether or not it exists.

        Raises:
            InputError: The name or version could point outside the registry.
        """
        check_name(name)
        if version < 1:
            raise InputError(f"{version} is no version of the adapter {name}; versions begin at 1.")
        return self.root / "adapters" / name / str(version)

    def verify(self, name: str, version: int) -> None:
        """Read every byte of a version and hold it against its manifest.

        Raises:
            NotFoundError: There is no such version.
            InputError: A file is missing, changed or foreign, or is a link.
        """
        manifest, folder = self.manifest(name, version), self.path(name, version)
        if folder.is_symlink() or not folder.resolve().is_relative_to(self.root.resolve()):
            raise InputError(
                f"The adapter {manifest.ref} lies outside the registry, at {folder.resolve()}; publish it again."
            )
        found = {file.name for file in folder.iterdir()} - {_MANIFEST}
        for problem, files in (
            ("lacks", manifest.files.keys() - found),
            ("has foreign files:", found - manifest.files.keys()),
        ):
            if files:
                raise InputError(f"The adapter {manifest.ref} {problem} {', '.join(sorted(files))}; publish it again.")
        for file, record in manifest.files.items():
            _verify_file(folder / file, record, ref=manifest.ref)

    def revision(self) -> int:
        """Return a number that grows with every change of the registry; 0 for an empty one. Reads the index only."""
        return self._read_index().revision

    def set_stable(self, name: str, version: int) -> None:
        """Let name@stable mean another published version.

        Raises:
            NotFoundError: There is no such version.
        """
        with self._writing() as index:
            self._manifest(name, version, index=index)
            self._write_index(index.with_stable(name, version))

    def write_specialist(self, name: str, document: bytes) -> None:
        """Store a specialist's JSON document, replacing one of the same name.

        Raises:
            InputError: A bad name, or the document is not a JSON object.
        """
        check_name(name, what="specialist")
        try:
            parsed = json.loads(document)
        except ValueError as error:
            raise InputError(f"The document of the specialist {name} is not JSON: {error}.") from error
        if not isinstance(parsed, dict):
            raise InputError(f"The document of the specialist {name} is not a JSON object.")
        with self._writing() as index:
            path = self._specialist_path(name)
            path.parent.mkdir(exist_ok=True)
            replace_file(path, document)
            self._write_index(index.with_specialist(name))

    def specialists(self) -> tuple[str, ...]:
        """Return the names of all specialists."""
        return self._read_index().specialists

    def read_specialist(self, name: str) -> bytes:
        """Return the document of one specialist.

        Raises:
            InputError: A bad name, or a specialist that the index names has no readable document.
            NotFoundError: There is none of this name.
        """
        path = self._specialist_path(name)
        try:
            return path.read_bytes()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and name not in self.specialists():
                raise self._unknown_specialist(name, self.specialists()) from error
            raise InputError(
                f"Specialist '{name}' has no readable document in {self.root} ({error.strerror}); apply it again."
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

    def remove_specialist(self, name: str) -> None:
        """Take a specialist out.

        Raises:
            NotFoundError: There is none of this name.
        """
        check_name(name, what="specialist")
        with self._writing() as index:
            if name not in index.specialists:
                raise self._unknown_specialist(name, index.specialists)
            self._write_index(index.without_specialist(name))
            self._specialist_path(name).unlink(missing_ok=True)

    def _unknown_specialist(self, name: str, known: tuple[str, ...]) -> NotFoundError:
        return NotFoundError(f"There is no specialist {name!r} in {self.root}; known: {', '.join(known) or 'none'}.")

    def _specialist_path(self, name: str) -> Path:
        return self.root / "specialists" / f"{check_name(name, what='specialist')}.json"

    def _manifest(self, name: str, version: int, *, index: RegistryIndex) -> AdapterManifest:
        path = self.path(name, version) / _MANIFEST
        entry = index.adapters.get(name)
        if entry is None or version not in entry.versions or not path.is_file():
            known = ", ".join(str(number) for number in entry.versions) if entry else "none"
            raise NotFoundError(
                f"There is no version {version} of the adapter {name!r} in {self.root}; published: {known}."
            )
        manifest = parse_manifest(path.read_bytes(), where=str(path))
        if (manifest.name, manifest.version) != (name, version):
            raise InputError(f"{path} describes {manifest.ref}, not {name}@{version}; publish the adapter again.")
        return manifest

    @contextmanager
    def _writing(self) -> Iterator[RegistryIndex]:
        """Hold the lock and give the index, which is there on disk before anything that it will name."""
        self.root.mkdir(parents=True, exist_ok=True)
        with exclusive(self.root / ".lock"):
            index = self._read_index()
            if not self._index_path.exists():
                self._write_index(index)
            yield index

    @property
    def _index_path(self) -> Path:
        return self.root / "index.json"

    def _read_index(self) -> RegistryIndex:
        try:
            content = self._index_path.read_bytes()
        except FileNotFoundError:
            content = None
        if content is not None:
            return _parsed(content, str(self._index_path))
        if any(self._orphans()) and not self._index_path.exists():
            raise InputError(
                f"The registry {self.root} has adapters or specialists but no index.json; put the file back from a "
                "backup, or move the folder away and publish again into a new one."
            )
        return RegistryIndex()

    def _orphans(self) -> Iterator[Path]:
        """What an index must name."""
        yield from self.root.glob(f"adapters/*/*/{_MANIFEST}")
        yield from self.root.glob("specialists/*.json")

    def _write_index(self, index: RegistryIndex) -> None:
        replace_file(self._index_path, index.model_dump_json(indent=2).encode())


@lru_cache(maxsize=4)
def _parsed(content: bytes, where: str) -> RegistryIndex:
    """Parse an index; the same bytes only once, because whoever reads many manifests needs the index for each."""
    return parse_index(content, where=where)


def _next_version(folder: Path) -> int:
    """Count on from the highest number ever used, half-written versions included."""
    return 1 + max((int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()), default=0)


def _verify_file(path: Path, record: FileRecord, *, ref: str) -> None:
    if path.is_symlink() or not path.is_file():
        raise InputError(f"The adapter {ref} has {path.name} as a link or folder; publish it again.")
    found = hash_file(path)
    if found != record:
        raise InputError(
            f"The adapter {ref} is damaged: {path.name} has sha256 {found.sha256[:12]} and {found.bytes} bytes, "
            f"its manifest says {record.sha256[:12]} and {record.bytes}; publish it again."
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _code_version() -> str:
    try:
        return importlib.metadata.version("graftwork")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
