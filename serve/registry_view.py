"""A replica's view of the registry: polls the index alone, and reads the rest when it changed or is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from indexer.errors import InputError, NotFoundError, UnavailableError
from serve.catalog import Catalog
from serve.catalog_reader import read_catalog, why_unservable
from serve.following import keep_looking
from train.base_model import BaseModelFiles
from train.registry.manifest import AdapterManifest
from train.registry.registry import AdapterRegistry

logger = logging.getLogger("graftwork.serve")

# Reads of the registry at once. They have threads of their own: a store that does not answer holds up nothing else.
_THREADS = 8

T = TypeVar("T")


class RegistryView:
    """Holds the newest catalogue."""

    def __init__(
        self,
        registry: AdapterRegistry,
        *,
        base_name: str,
        base: BaseModelFiles,
        max_lora_rank: int,
        interval_s: float,
        allow_unverified: bool = False,
    ) -> None:
        """Read the registry once.

        Args:
            registry: Where adapters and specialists are.
            base_name: Name of the base model as served.
            base: The base model's files; adapters for another are left out.
            max_lora_rank: The engine's limit; adapters above it are left out.
            interval_s: Seconds between two looks at the index.
            allow_unverified: Take adapters, too, that were published without the engine check.
        """
        self._registry = registry
        self._base_name = base_name
        self._base = base
        self._max_lora_rank = max_lora_rank
        self._interval_s = interval_s
        self._allow_unverified = allow_unverified
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="registry")
        self._manifests: dict[str, AdapterManifest] = {}
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._take(self._read())

    @property
    def catalog(self) -> Catalog:
        """The newest catalogue."""
        return self._catalog

    async def follow(self) -> None:
        """Keep the catalogue up to date until cancelled; while the registry cannot be read, the last one stays.

        Each look is one read of the index, and of its tag alone where it is the one that was read last. A registry that
        is away reads as an empty one, of revision 0. Revisions only grow, so a lower one is not taken.
        """
        await keep_looking(self._look, interval_s=self._interval_s, failed=self._tell_failure)

    async def _look(self) -> None:
        if self._is_newer(await self._off_the_loop(self._registry.revision)):
            catalog = await self._off_the_loop(self._read)
            if self._is_newer(catalog.revision):
                self._take(catalog)

    async def know(self, ref: str) -> None:
        """Read the manifest of a version that the catalogue has not read yet; all who ask at once wait for one read.

        Afterwards the version is in the catalogue's `adapters`, or its `problems` say why it is not served.

        Raises:
            UnavailableError: The registry cannot be read now.
        """
        read = self._reads.get(ref)
        if read is None:
            read = self._reads[ref] = asyncio.create_task(self._know(ref))
            read.add_done_callback(lambda _: self._reads.pop(ref))
        await asyncio.shield(read)

    async def _know(self, ref: str) -> None:
        manifest, problem = self._manifests.get(ref), None
        if manifest is None:
            name, _, version = ref.partition("@")
            try:
                manifest = await self._off_the_loop(lambda: self._registry.manifest(name, int(version)))
                self._manifests[ref] = manifest
            except OSError as error:
                raise UnavailableError(
                    f"The manifest of adapter {ref} cannot be read ({error}); check that the registry is mounted."
                ) from error
            except (InputError, NotFoundError) as error:
                problem = str(error)
        if manifest is not None:
            problem = why_unservable(
                manifest,
                base=self._base,
                max_lora_rank=self._max_lora_rank,
                allow_unverified=self._allow_unverified,
            )
        if manifest is not None and problem is None:
            self._adapters[ref] = manifest
        else:
            logger.warning("%s is not served: %s", ref, problem)
            self._problems[ref] = str(problem)

    async def _off_the_loop(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

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
            allow_unverified=self._allow_unverified,
            manifests=self._manifests,
        )

    def _take(self, catalog: Catalog) -> None:
        self._adapters, self._problems = dict(catalog.adapters), dict(catalog.problems)
        self._catalog = replace(catalog, adapters=self._adapters, problems=self._problems)
        logger.info(
            "registry revision %d: %d specialists, %d adapter versions",
            catalog.revision,
            len(catalog.specialists),
            sum(len(entry.live) for entry in catalog.entries.values()),
        )
        for name, problem in catalog.problems.items():
            logger.warning("%s is not served: %s", name, problem)

    def _tell_failure(self, cause: str) -> None:
        logger.warning("serving revision %d of the registry still: %s", self._catalog.revision, cause)
