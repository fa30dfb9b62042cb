from __future__ import annotations

import os

import pytest

from indexer.run.pool import pool_for, threads_per_actor
from indexer.settings import IndexerSettings


def test_actors_follow_the_nodes_and_the_gpus() -> None:
    alone = pool_for(IndexerSettings(), nodes=1, cpus=2, gpus=0)
    assert (alone.actors, alone.fixed, alone.per_node, alone.cpus) == (1, True, 1, 1.0)
    three = pool_for(IndexerSettings(), nodes=3, cpus=48, gpus=4)
    assert (three.actors, three.fixed, three.per_node, three.cpus) == (3, False, 1, 1.0)
    on_gpus = pool_for(IndexerSettings(embed_gpus=0.5), nodes=2, cpus=8, gpus=4)
    assert (on_gpus.actors, on_gpus.fixed, on_gpus.per_node, on_gpus.cpus) == (8, False, 4, 0.5)
    without = pool_for(IndexerSettings(embed_gpus=1), nodes=2, cpus=8, gpus=0)
    assert without.actors == 1  # it waits for a GPU that an autoscaler may bring


def test_a_number_in_the_settings_is_kept() -> None:
    pool = pool_for(IndexerSettings(embed_actors=5, embed_gpus=1), nodes=2, cpus=4, gpus=2)
    assert (pool.actors, pool.fixed, pool.per_node, pool.cpus) == (5, True, 3, 0.4)
    assert (pool.strategy.min_size, pool.strategy.max_size) == (5, 5)


def test_a_pool_that_follows_the_cluster_makes_do_with_one_actor() -> None:
    strategy = pool_for(IndexerSettings(), nodes=3, cpus=48, gpus=0).strategy
    assert (strategy.min_size, strategy.initial_size, strategy.max_size) == (1, 3, 3)


def test_actors_of_a_node_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert threads_per_actor(IndexerSettings(), per_node=3) == 2
    assert threads_per_actor(IndexerSettings(), per_node=16) == 1
    assert threads_per_actor(IndexerSettings(embed_threads=5), per_node=3) == 5
