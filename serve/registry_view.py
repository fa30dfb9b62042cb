"""A replica's view of the registry: polls one revision number and reads the rest only when it changed."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path

from indexer.errors import GraftworkError, InputError, NotFoundError, UnavailableError
from serve.catalog import Catalog
from serve.specialist import Specialist, parse_specialist
from train.base_model import BaseModelFiles
from train.registry.checks import check_manifest
from train.registry.manifest import AdapterManifest
from train.registry.registry import AdapterRegistry

logger = logging.getLogger("graftwork.serve")


def read_catalog(
    registry: AdapterRegistry,
    *,
    base_name: str,
    base: BaseModelFiles,
    max_lora_rank: int,
    manifests: dict[str, AdapterManifest] | None = None,
) -> Catalog:
    """Read the whole registry into a catalogue.

    A specialist or adapter that cannot be served is left out and its reason recorded, so that one bad document never
    takes the others down.

    Args:
        registry: Where adapters and specialists are.
        base_name: Name of the base model as served.
        base: The base model's files; adapters for another are left out.
        max_lora_rank: The engine's limit; adapters above it are left out.
        manifests: Manifests read before, by reference; they never change. New ones are added here.

    Raises:
        InputError: The index is broken.
        UnavailableError: The registry went away while it was read.
        OSError: The index cannot be read.
    """
    revision = registry.revision()
    problems: dict[str, str] = {}
    adapters = _read_adapters(
        registry, base=base, max_lora_rank=max_lora_rank, manifests={} if manifests is None else manifests, out=problems
    )
    specialists = _read_specialists(registry, base_name=base_name, out=problems)
    if registry.revision() < revision:
        raise UnavailableError(f"The registry {registry.root} went away while it was read; check that it is mounted.")
    return Catalog(
        revision=revision, base_name=base_name, specialists=specialists, adapters=adapters, problems=problems
    )


def _read_adapters(
    registry: AdapterRegistry,
    *,
    base: BaseModelFiles,
    max_lora_rank: int,
    manifests: dict[str, AdapterManifest],
    out: dict[str, str],
) -> dict[str, AdapterManifest]:
    adapters: dict[str, AdapterManifest] = {}
    for summary in registry.list():
        for version in summary.versions:
            ref = f"{summary.name}@{version}"
            try:
                manifest = manifests.get(ref) or registry.manifest(summary.name, version)
                manifests[ref] = manifest
                check_manifest(manifest, max_rank=max_lora_rank, base=base)
            except GraftworkError as error:
                out[ref] = str(error)
                continue
            except OSError as error:
                out[ref] = f"The manifest of adapter {ref} cannot be read ({error.strerror}); publish it again."
                continue
            adapters[ref] = manifest
            if version == summary.stable:
                adapters[f"{summary.name}@stable"] = manifest
    return adapters


def _read_specialists(registry: AdapterRegistry, *, base_name: str, out: dict[str, str]) -> dict[str, Specialist]:
    specialists: dict[str, Specialist] = {}
    for name in registry.specialists():
        try:
            document = registry.read_specialist(name)
            specialist = parse_specialist(document, source=f"specialist '{name}' of the registry")
            if specialist.base != base_name:
                raise InputError(
                    f"Specialist '{name}' grafts onto base '{specialist.base}', but '{base_name}' is served."
                )
        except NotFoundError:  # removed since its name was read
            continue
        except InputError as error:
            out[name] = str(error)
            continue
        specialists[name] = specialist
    return specialists


class RegistryView:
    """Holds the newest catalogue and the checked paths of adapter versions."""

    def __init__(
        self, registry: AdapterRegistry, *, base_name: str, base: BaseModelFiles, max_lora_rank: int, interval_s: float
    ) -> None:
        """Read the registry once.

        Args:
            registry: Where adapters and specialists are.
            base_name: Name of the base model as served.
            base: The base model's files; adapters for another are left out.
            max_lora_rank: The engine's limit; adapters above it are left out.
            interval_s: Seconds between two looks at the revision.
        """
        self._registry = registry
        self._base_name = base_name
        self._base = base
        self._max_lora_rank = max_lora_rank
        self._interval_s = interval_s
        self._manifests: dict[str, AdapterManifest] = {}
        self._checks: dict[str, asyncio.Task[Path]] = {}
        self._trouble = ""
        self._catalog = self._read()
        self._tell()

    @property
    def catalog(self) -> Catalog:
        """The newest catalogue."""
        return self._catalog

    async def follow(self) -> None:
        """Keep the catalogue up to date until cancelled; while the registry cannot be read, the last one stays.

        A registry that is away reads as an empty one, of revision 0. Revisions only grow, so a lower one is not taken.
        """
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                if self._is_newer(await asyncio.to_thread(self._registry.revision)):
                    catalog = await asyncio.to_thread(self._read)
                    if self._is_newer(catalog.revision):
                        self._catalog = catalog
                        self._tell()
                self._trouble = ""
            except (GraftworkError, OSError) as error:
                if str(error) != self._trouble:
                    logger.warning("serving revision %d of the registry still: %s", self._catalog.revision, error)
                self._trouble = str(error)

    async def adapter_path(self, manifest: AdapterManifest) -> Path:
        """The folder of an adapter version, its files checked against the manifest the first time.

        All who ask at once wait for one check; one who gives up waiting does not end it for the others.

        Raises:
            GraftworkError: A file is missing, foreign or changed, or cannot be read.
        """
        check = self._checks.get(manifest.ref)
        if check is None:
            check = self._checks[manifest.ref] = asyncio.create_task(self._check(manifest))
            check.add_done_callback(partial(self._forget_failed, manifest.ref))
        return await asyncio.shield(check)

    async def _check(self, manifest: AdapterManifest) -> Path:
        try:
            await asyncio.to_thread(self._registry.verify, manifest.name, manifest.version)
        except OSError as error:
            raise UnavailableError(
                f"The files of adapter {manifest.ref} cannot be read ({error}); check that the registry is mounted."
            ) from error
        return self._registry.path(manifest.name, manifest.version)

    def _forget_failed(self, ref: str, check: asyncio.Task[Path]) -> None:
        if check.cancelled() or check.exception() is not None:
            del self._checks[ref]

    def _is_newer(self, revision: int) -> bool:
        if revision < self._catalog.revision:
            raise UnavailableError(
                f"The registry {self._registry.root} reads as revision {revision}, which is older; mount it again, or "
                "restart the app to take it as it is."
            )
        return revision > self._catalog.revision

    def _read(self) -> Catalog:
        return read_catalog(
            self._registry,
            base_name=self._base_name,
            base=self._base,
            max_lora_rank=self._max_lora_rank,
            manifests=self._manifests,
        )

    def _tell(self) -> None:
        logger.info(
            "registry revision %d: %d specialists, %d adapter versions",
            self._catalog.revision,
            len(self._catalog.specialists),
            len({manifest.ref for manifest in self._catalog.adapters.values()}),
        )
        for name, problem in self._catalog.problems.items():
            logger.warning("%s is not served: %s", name, problem)
