"""How many actors embed, and what each of them gets."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

import ray
from ray.data import ActorPoolStrategy

from indexer.settings import IndexerSettings

_GIVEN_BACK_S = 3.0  # Ray takes a moment to notice that an actor of the run before has ended
_SHARES = 10_000  # Ray counts resources in parts of so many


@dataclass(frozen=True, slots=True)
class EmbedderPool:
    """The embedding actors of a run.

    Attributes:
        actors: Most there are at once.
        fixed: Whether the run has so many from its start to its end; else it makes do with what it gets.
        per_node: Most that share a node's cores.
        cpus: Ray CPUs that each reserves; together at most half the cluster, so that reading is never starved.
        gpus: Ray GPUs that each reserves.
        device: Where each embeds; None lets the model choose.
    """

    actors: int
    fixed: bool
    per_node: int
    cpus: float
    gpus: float
    device: str | None

    @property
    def strategy(self) -> ActorPoolStrategy:
        """The pool in Ray Data's terms."""
        if self.fixed:
            return ActorPoolStrategy(size=self.actors)
        return ActorPoolStrategy(min_size=1, initial_size=self.actors, max_size=self.actors)

    def actor_settings(self, settings: IndexerSettings) -> IndexerSettings:
        """Return the settings for an actor of the pool, its device among them."""
        return settings.model_copy(update={"embed_device": self.device})


def embedder_pool(settings: IndexerSettings) -> EmbedderPool:
    """Return the pool for the initialised Ray as it is now."""
    resources = ray.cluster_resources()
    working = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    gpus = float(resources.get("GPU", 0))
    return pool_for(
        settings,
        nodes=max(1, len(working)),
        cpus=float(resources.get("CPU", 1)),
        gpus=gpus,
        free_gpus=_free_gpus() if gpus and settings.embed_gpus is None else 0,
    )


def pool_for(settings: IndexerSettings, *, nodes: int, cpus: float, gpus: float, free_gpus: int = 0) -> EmbedderPool:
    """Return the pool for a cluster: what `embed_actors` says, else as many as its GPUs hold, else one per node.

    Args:
        settings: `embed_actors`, `embed_gpus`, `embed_cpus` and `embed_device`.
        nodes: Nodes that run tasks.
        cpus: Ray CPUs of all nodes.
        gpus: Ray GPUs of all nodes.
        free_gpus: Whole ones that nobody has reserved, counted where `embed_gpus` is unset: an engine keeps its GPU for
            as long as it serves, and an actor that waited for that one would wait for ever.
    """
    each = gpus_per_actor(settings, free=free_gpus)
    by_cluster = int((free_gpus if settings.embed_gpus is None else gpus) / each) if each else nodes
    actors = settings.embed_actors or max(1, by_cluster)
    return EmbedderPool(
        actors=actors,
        fixed=settings.embed_actors is not None or actors == 1,
        per_node=math.ceil(actors / nodes),
        cpus=min(settings.embed_cpus, cpus / (2 * actors)),
        gpus=each,
        device=settings.embed_device or (None if each else "cpu"),
    )


def gpus_per_actor(settings: IndexerSettings, *, free: int) -> float:
    """Return what an actor reserves: `embed_gpus`, else a whole one or, where actors are more than GPUs, a share.

    An `embed_device` other than `cuda` needs none: Ray shows an actor only the GPU that it reserved.

    Args:
        settings: `embed_gpus`, `embed_actors` and `embed_device`.
        free: GPUs that nobody has reserved.
    """
    if settings.embed_gpus is not None:
        return settings.embed_gpus
    if not free or settings.embed_device not in (None, "cuda"):
        return 0.0
    on_one = math.ceil((settings.embed_actors or 1) / free)
    return _SHARES // on_one / _SHARES


def _free_gpus() -> int:
    deadline = time.monotonic() + _GIVEN_BACK_S
    while not (free := int(ray.available_resources().get("GPU", 0))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return free


def threads_per_actor(settings: IndexerSettings, *, per_node: int) -> int:
    """Return the torch threads of an embedding actor: those of the settings, else its share of this node's cores."""
    return settings.embed_threads or max(1, len(os.sched_getaffinity(0)) // per_node)
