from __future__ import annotations

import os

import pytest

from indexer.run.pool import gpus_per_actor, pool_for, threads_per_actor
from indexer.settings import IndexerSettings


def test_actors_follow_the_nodes_and_the_gpus() -> None:
    alone = pool_for(IndexerSettings(), nodes=1, cpus=2, gpus=0)
    assert (alone.actors, alone.fixed, alone.per_node, alone.cpus) == (1, True, 1, 1.0)
    three = pool_for(IndexerSettings(), nodes=3, cpus=48, gpus=0)
    assert (three.actors, three.fixed, three.per_node, three.cpus) == (3, False, 1, 1.0)
    on_gpus = pool_for(IndexerSettings(embed_gpus=0.5), nodes=2, cpus=8, gpus=4)
    assert (on_gpus.actors, on_gpus.fixed, on_gpus.per_node, on_gpus.cpus) == (8, False, 4, 0.5)
    without = pool_for(IndexerSettings(embed_gpus=1), nodes=2, cpus=8, gpus=0)
    assert (without.actors, without.gpus) == (1, 1.0)  # it waits for a GPU that an autoscaler may bring


def test_unset_every_free_gpu_has_an_actor() -> None:
    pool = pool_for(IndexerSettings(), nodes=3, cpus=48, gpus=4, free_gpus=4)
    assert (pool.actors, pool.fixed, pool.per_node, pool.gpus, pool.device) == (4, False, 2, 1.0, None)
    one = pool_for(IndexerSettings(), nodes=1, cpus=8, gpus=1, free_gpus=1)
    assert (one.actors, one.fixed, one.gpus, one.device) == (1, True, 1.0, None)


def test_a_gpu_that_an_engine_holds_is_not_waited_for() -> None:
    pool = pool_for(IndexerSettings(), nodes=2, cpus=8, gpus=1, free_gpus=0)
    assert (pool.actors, pool.gpus, pool.device) == (2, 0.0, "cpu")


def test_none_is_none_and_embeds_on_the_processor() -> None:
    pool = pool_for(IndexerSettings(embed_gpus=0), nodes=3, cpus=48, gpus=4, free_gpus=4)
    assert (pool.actors, pool.gpus, pool.device) == (3, 0.0, "cpu")
    assert pool.actor_settings(IndexerSettings(embed_gpus=0)).embed_device == "cpu"
    without = pool_for(IndexerSettings(), nodes=3, cpus=48, gpus=0)
    assert (without.gpus, without.device) == (0.0, "cpu")


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0.0), ("mps", 0.0), ("cuda:1", 0.0), ("cuda", 1.0)])
def test_a_device_in_the_settings_is_kept_and_decides(device: str, gpus: float) -> None:
    pool = pool_for(IndexerSettings(embed_device=device), nodes=1, cpus=8, gpus=2, free_gpus=2)
    assert (pool.gpus, pool.device) == (gpus, device)
    shared = pool_for(IndexerSettings(embed_device=device, embed_gpus=0), nodes=1, cpus=8, gpus=2)
    assert (shared.gpus, shared.device) == (0.0, device)


@pytest.mark.parametrize(
    ("actors", "free", "each"), [(None, 3, 1.0), (2, 3, 1.0), (3, 3, 1.0), (5, 2, 0.3333), (6, 1, 0.1666), (5, 0, 0.0)]
)
def test_more_actors_than_gpus_share_them(actors: int | None, free: int, each: float) -> None:
    assert gpus_per_actor(IndexerSettings(embed_actors=actors), free=free) == each
    if actors and each:
        assert int(1 / each) * free >= actors  # Ray finds a place for all of them


def test_a_number_in_the_settings_is_kept() -> None:
    pool = pool_for(IndexerSettings(embed_actors=5, embed_gpus=1), nodes=2, cpus=4, gpus=2)
    assert (pool.actors, pool.fixed, pool.per_node, pool.cpus, pool.gpus) == (5, True, 3, 0.4, 1.0)
    assert (pool.strategy.min_size, pool.strategy.max_size) == (5, 5)


def test_a_pool_that_follows_the_cluster_makes_do_with_one_actor() -> None:
    strategy = pool_for(IndexerSettings(), nodes=3, cpus=48, gpus=0).strategy
    assert (strategy.min_size, strategy.initial_size, strategy.max_size) == (1, 3, 3)


def test_actors_of_a_node_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads_per_actor(IndexerSettings(), per_node=3) == 2
    assert threads_per_actor(IndexerSettings(), per_node=16) == 1
    assert threads_per_actor(IndexerSettings(embed_threads=5), per_node=3) == 5
