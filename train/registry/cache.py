"""Adapter versions of a bucket on this machine's disk, where an engine can read them."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from indexer.errors import InputError, UnavailableError, writing
from train.registry.cache_pruning import Pruned, prune
from train.registry.files import hash_file
from train.registry.holding import Hold, hold, make_aside
from train.registry.manifest import AdapterManifest, FileRecord
from train.registry.storage import Storage

logger = logging.getLogger("graftwork.registry")

# Some dozens of adapters of rank 16 for a model of 8e9 parameters, at 84 MB each in bfloat16; and less than half of the
# 10 GiB that the manifests in k8s/ give to temporary files.
DEFAULT_CACHE_BYTES = 4 * 2**30

# Inode, length and time of change (ns) of each file of a version.
_Seen: TypeAlias = tuple[tuple[int, int, int], ...]


def default_cache_dir() -> Path:
    """A folder of this user's own among the machine's temporary files."""
    return Path(tempfile.gettempdir()) / f"graftwork-adapters-{os.getuid()}"


@dataclass(frozen=True, slots=True)
class LocalVersion:
    """A version on this machine's disk, every byte checked; a fetched one stays there until it is released.

    Attributes:
        folder: Its folder.
        hold: What keeps it in the cache; None where it lies in the registry itself, which is never pruned.
    """

    folder: Path
    hold: Hold | None = None

    def release(self) -> None:
        """Let the cache prune it, as used now; does nothing the second time."""
        if self.hold is not None:
            with self.hold:
                self.hold.touch()


class AdapterCache:
    """Whole, checked versions, each in a folder whose name tells its content; several processes may share it."""

    def __init__(self, storage: Storage, folder: Path, *, max_bytes: int) -> None:
        """Remember the folder; the first fetch makes it.

        Args:
            storage: Where the versions come from.
            folder: Where they go; registries may share it.
            max_bytes: Bytes that `prune` leaves of versions that nobody holds.
        """
        self._storage = storage
        # A registry that was made anew at the same place has other files.
        self._folder = folder / hashlib.sha256(str(storage.place).encode()).hexdigest()[:12]
        self._root = folder
        self._max_bytes = max_bytes
        self._checked: dict[Path, _Seen] = {}

    def path(self, manifest: AdapterManifest) -> Path:
        """Where a version lies once it is fetched; no other version, nor the same of other content, lies there."""
        digest = hashlib.sha256("".join(sorted(record.sha256 for record in manifest.files.values())).encode())
        return self._folder / manifest.name / f"{manifest.version}-{digest.hexdigest()[:12]}"

    def fetch(self, key: str, manifest: AdapterManifest) -> LocalVersion:
        """Return a version, fetched if it is not here whole, and held until it is released.

        Args:
            key: Key below which its files are.
            manifest: Its manifest.

        Raises:
            InputError: A file is missing at its place or is not as the manifest says.
            UnavailableError: The place cannot be reached, or the folder cannot be written.
        """
        target = self.path(manifest)
        with writing("The fetched adapter", target, otherwise="name another folder by `serve.adapter_cache_dir`"):
            self._make_root()
            with ExitStack() as unused:
                present = hold(target)
                if present is not None:
                    unused.enter_context(present)
                    if self._is_whole(target, manifest):
                        present.touch()
                        unused.pop_all()
                        return LocalVersion(target, present)
            target.parent.mkdir(parents=True, exist_ok=True)
            staging = make_aside(target)
            try:
                self._fill(staging.path, key, manifest)
                return LocalVersion(target, self._put_in_place(staging, target, manifest))
            finally:
                if staging.path != target:
                    with staging:
                        shutil.rmtree(staging.path, ignore_errors=True)  # what stays is a leftover, for `prune`

    def prune(self) -> Pruned | None:
        """Delete what is too much, and log what could not be deleted; see `cache_pruning.prune`."""
        pruned = prune(self._root, max_bytes=self._max_bytes)
        for failure in pruned.failed if pruned is not None else ():
            logger.warning("%s in the adapter cache cannot be deleted: %s", failure.path, failure.cause)
        return pruned

    def _fill(self, staging: Path, key: str, manifest: AdapterManifest) -> None:
        try:
            found = self._storage.fetch_files(key, manifest.files, staging)
        except FileNotFoundError as error:
            raise InputError(f"The adapter {manifest.ref} lacks a file ({_first(error)}); publish it again.") from error
        for name, record in manifest.files.items():
            check_record(found[name], record, name=name, ref=manifest.ref)

    def _put_in_place(self, staging: Hold, target: Path, manifest: AdapterManifest) -> Hold:
        while True:
            try:
                staging.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            else:
                return staging
            present = hold(target)
            if present is None:  # pruned in this moment
                continue
            with ExitStack() as unused:
                unused.enter_context(present)
                if not self._is_whole(target, manifest):
                    # Mended within the folder, for others may hold it.
                    for name in manifest.files:
                        os.replace(staging.path / name, target / name)
                unused.pop_all()
                return present

    def _is_whole(self, folder: Path, manifest: AdapterManifest) -> bool:
        """Whether every file is as the manifest says; files that did not change since are not read again."""
        try:
            seen = _seen(folder, manifest)
            if self._checked.get(folder) == seen:
                return True
            whole = all(hash_file(folder / name) == record for name, record in manifest.files.items())
        except OSError:
            return False
        if whole:
            self._checked[folder] = seen
        return whole

    def _make_root(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._root.stat().st_uid not in (os.getuid(), 0):
            raise UnavailableError(
                f"{self._root} belongs to another user, who could change adapters there; name a folder of your own by "
                "`serve.adapter_cache_dir`."
            )


def check_record(found: FileRecord, record: FileRecord, *, name: str, ref: str) -> None:
    """Hold what a file is against what its manifest says.

    Raises:
        InputError: They differ.
    """
    if found != record:
        raise InputError(
            f"The adapter {ref} is damaged: {name} has sha256 {found.sha256[:12]} and {found.bytes} bytes, "
            f"its manifest says {record.sha256[:12]} and {record.bytes}; publish it again."
        )


def _seen(folder: Path, manifest: AdapterManifest) -> _Seen:
    stats = [(folder / name).lstat() for name in sorted(manifest.files)]
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)


def _first(error: OSError) -> str:
    return error.strerror or str(error).partition(":")[0]
