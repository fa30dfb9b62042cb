"""How many actors embed, and what each of them gets."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import ray
from ray.data import ActorPoolStrategy

from indexer.settings import IndexerSettings


@dataclass(frozen=True, slots=True)
class EmbedderPool:
    """The embedding actors of a run.

    Attributes:
        actors: Most there are at once.
        fixed: Whether the run has so many from its start to its end; else it makes do with what it gets.
        per_node: Most that share a node's cores.
        cpus: Ray CPUs that each reserves; together at most half the cluster, so that reading is never starved.
    """

    actors: int
    fixed: bool
    per_node: int
    cpus: float

    @property
    def strategy(self) -> ActorPoolStrategy:
        """The pool in Ray Data's terms."""
        if self.fixed:
            return ActorPoolStrategy(size=self.actors)
        return ActorPoolStrategy(min_size=1, initial_size=self.actors, max_size=self.actors)


def embedder_pool(settings: IndexerSettings) -> EmbedderPool:
    """Return the pool for the initialised Ray as it is now."""
    resources = ray.cluster_resources()
    working = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return pool_for(
        settings,
        nodes=max(1, len(working)),
        cpus=float(resources.get("CPU", 1)),
        gpus=float(resources.get("GPU", 0)),
    )


def pool_for(settings: IndexerSettings, *, nodes: int, cpus: float, gpus: float) -> EmbedderPool:
    """Return the pool for a cluster: what `embed_actors` says, else as many as its GPUs hold, else one per node.

    Args:
        settings: `embed_actors`, `embed_gpus` and `embed_cpus`.
        nodes: Nodes that run tasks.
        cpus: Ray CPUs of all nodes.
        gpus: Ray GPUs of all nodes.
    """
    by_cluster = int(gpus / settings.embed_gpus) if settings.embed_gpus else nodes
    actors = settings.embed_actors or max(1, by_cluster)
    return EmbedderPool(
        actors=actors,
        fixed=settings.embed_actors is not None or actors == 1,
        per_node=math.ceil(actors / nodes),
        cpus=min(settings.embed_cpus, cpus / (2 * actors)),
    )


def threads_per_actor(settings: IndexerSettings, *, per_node: int) -> int:
    """Return the torch threads of an embedding actor: those of the settings, else its share of this node's cores."""
    return settings.embed_threads or max(1, len(os.sched_getaffinity(0)) // per_node)
