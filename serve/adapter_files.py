"""A replica's adapter files: fetched and checked before the engine may read them, kept on the disk while it may.

Files of a registry in a bucket lie in a cache of the node that all its replicas share. What one of them holds no other
prunes; so a replica lets go of what neither a request nor its engine needs, and the cache can be brought to its size.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from indexer.errors import UnavailableError
from serve.following import keep_looking
from train.base_model import BaseModelFiles
from train.registry.cache import LocalVersion
from train.registry.cache_pruning import Pruned
from train.registry.manifest import AdapterManifest
from train.registry.registry import AdapterRegistry
from train.registry.verbs import check_folder

logger = logging.getLogger("graftwork.serve")

# Fetches at once. They have threads of their own: a store that does not answer holds up nothing else.
_THREADS = 8


@dataclass(slots=True)
class _Held:
    """A version that is here or comes, and how many requests use it."""

    arrival: asyncio.Task[LocalVersion]
    users: int = 0

    @property
    def is_cached(self) -> bool:
        """Whether it is here and lies in the cache."""
        has_come = self.arrival.done() and not self.arrival.cancelled() and self.arrival.exception() is None
        return has_come and self.arrival.result().hold is not None


class AdapterFiles:
    """Checked folders of adapter versions. Touched on one event loop."""

    def __init__(
        self,
        registry: AdapterRegistry,
        *,
        base: BaseModelFiles,
        max_lora_rank: int,
        needed: Callable[[], Collection[str]],
        interval_s: float,
        on_pruned: Callable[[Pruned], None] = lambda _: None,
    ) -> None:
        """Store the arguments.

        Args:
            registry: Where the versions are.
            base: The base model's files, which adapters must fit.
            max_lora_rank: The engine's limit of their rank.
            needed: References of the versions whose files the engine may read, or will.
            interval_s: Seconds between two looks at what may go.
            on_pruned: Told of every pruning.
        """
        self._registry = registry
        self._base = base
        self._max_lora_rank = max_lora_rank
        self._needed = needed
        self._interval_s = interval_s
        self._on_pruned = on_pruned
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="adapter-files")
        self._held: dict[str, _Held] = {}
        self._has_changed = True

    @asynccontextmanager
    async def use(self, manifest: AdapterManifest) -> AsyncIterator[Path]:
        """The folder of a version, fetched and checked in every respect; it stays for the length of the block.

        All who ask at once wait for one check; one who gives up waiting does not end it for the others.

        Raises:
            GraftworkError: A file is missing, foreign or changed, cannot be read, or is nothing the engine may load.
        """
        held = self._held.get(manifest.ref)
        if held is None:
            held = self._held[manifest.ref] = _Held(asyncio.create_task(self._arrive(manifest)))
            held.arrival.add_done_callback(partial(self._forget_failed, manifest.ref))
        held.users += 1
        try:
            version = await asyncio.shield(held.arrival)
            yield version.folder
        finally:
            held.users -= 1

    async def follow(self) -> None:
        """Let go of what nothing needs, and prune, again and again until cancelled."""
        await keep_looking(
            self.tidy,
            interval_s=self._interval_s,
            failed=lambda cause: logger.warning("the adapter cache of this node was not looked after: %s", cause),
        )

    async def tidy(self) -> None:
        """Let go of what nothing needs, and prune the cache if something came or went since the last time."""
        for ref in self._idle():
            self._held.pop(ref).arrival.result().release()
            self._has_changed = True
        if not self._has_changed:
            return
        self._has_changed = False
        pruned = await asyncio.get_running_loop().run_in_executor(self._threads, self._registry.prune_cache)
        if pruned is None:
            self._has_changed = True  # another replica prunes, and may not have seen what this one let go of
            return
        if pruned.removed:
            logger.info("%d adapter versions left the cache of this node", len(pruned.removed))
        self._on_pruned(pruned)

    def _idle(self) -> list[str]:
        """References of fetched versions that neither a request nor the engine needs."""
        needed = self._needed()
        return [ref for ref, held in self._held.items() if not held.users and ref not in needed and held.is_cached]

    async def _arrive(self, manifest: AdapterManifest) -> LocalVersion:
        version = await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, manifest)
        self._has_changed = True
        return version

    def _fetch(self, manifest: AdapterManifest) -> LocalVersion:
        try:
            version = self._registry.fetch(manifest)
            try:
                check_folder(version.folder, manifest, base=self._base, max_rank=self._max_lora_rank)
            except BaseException:
                version.release()
                raise
        except OSError as error:
            raise UnavailableError(
                f"The files of adapter {manifest.ref} cannot be read ({error}); check that the registry is mounted."
            ) from error
        return version

    def _forget_failed(self, ref: str, arrival: asyncio.Task[LocalVersion]) -> None:
        if arrival.cancelled() or arrival.exception() is not None:
            del self._held[ref]
