"""A replica's view of the registry: polls one revision number and reads the rest only when it changed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from indexer.errors import GraftworkError, InputError
from serve.catalog import Catalog
from serve.specialist import Specialist, parse_specialist
from train.base_model import BaseModelFiles
from train.registry.checks import check_manifest
from train.registry.manifest import AdapterManifest
from train.registry.registry import AdapterRegistry

logger = logging.getLogger("graftwork.serve")


def read_catalog(registry: AdapterRegistry, *, base_name: str, base: BaseModelFiles, max_lora_rank: int) -> Catalog:
    """Read the whole registry into a catalogue.

    A specialist or adapter that cannot be served is left out and its reason recorded, so that one bad document never
    takes the others down.
    """
    revision = registry.revision()
    problems: dict[str, str] = {}
    adapters: dict[str, AdapterManifest] = {}
    for summary in registry.list():
        for version in summary.versions:
            try:
                manifest = registry.manifest(summary.name, version)
                check_manifest(manifest, max_rank=max_lora_rank, base=base)
            except GraftworkError as error:
                problems[f"{summary.name}@{version}"] = str(error)
                continue
            adapters[manifest.ref] = manifest
            if version == summary.stable:
                adapters[f"{summary.name}@stable"] = manifest
    specialists: dict[str, Specialist] = {}
    for name, document in registry.read_specialists().items():
        try:
            specialist = parse_specialist(document, source=f"specialist '{name}' of the registry")
            if specialist.base != base_name:
                raise InputError(
                    f"Specialist '{name}' grafts onto base '{specialist.base}', but '{base_name}' is served."
                )
        except InputError as error:
            problems[name] = str(error)
            continue
        specialists[name] = specialist
    return Catalog(
        revision=revision, base_name=base_name, specialists=specialists, adapters=adapters, problems=problems
    )


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
        self._verified: dict[str, Path] = {}
        self._catalog = self._read()

    @property
    def catalog(self) -> Catalog:
        """The newest catalogue."""
        return self._catalog

    async def follow(self) -> None:
        """Keep the catalogue up to date until cancelled; while the registry cannot be read, the last one stays."""
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                if await asyncio.to_thread(self._registry.revision) != self._catalog.revision:
                    self._catalog = await asyncio.to_thread(self._read)
            except (GraftworkError, OSError) as error:
                logger.warning("the registry could not be read, serving revision %d: %s", self._catalog.revision, error)

    async def adapter_path(self, manifest: AdapterManifest) -> Path:
        """The folder of an adapter version, its files checked against the manifest the first time.

        Raises:
            GraftworkError: A file is missing, foreign or changed.
        """
        known = self._verified.get(manifest.ref)
        if known is None:
            await asyncio.to_thread(self._registry.verify, manifest.name, manifest.version)
            known = self._verified[manifest.ref] = self._registry.path(manifest.name, manifest.version)
        return known

    def _read(self) -> Catalog:
        catalog = read_catalog(
            self._registry, base_name=self._base_name, base=self._base, max_lora_rank=self._max_lora_rank
        )
        logger.info(
            "registry revision %d: %d specialists, %d adapter versions",
            catalog.revision,
            len(catalog.specialists),
            len({manifest.ref for manifest in catalog.adapters.values()}),
        )
        for name, problem in catalog.problems.items():
            logger.warning("%s is not served: %s", name, problem)
        return catalog
