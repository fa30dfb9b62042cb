"""Runs whose nodes go: a head without CPUs, and nodes with one CPU each, as processes of this machine."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.train.workshop import (
    Workshop,
    end_leftovers,
    held,
    make_workshop,
    ray_environment,
    ray_folder,
    training_workers,
)
from train.faults.checkpoint_list import LIST_FILE, last_checkpoint
from train.faults.preemption import LOOK_SECONDS
from train.run import TrainProgress, TrainResult

# Long enough that what is done to a run comes in its midst, a second or two after its first report.
EPOCHS = 16
STEPS = EPOCHS * 3
SAVE_STEPS = 4
# Seconds between a node's SIGTERM and its end.
NOTICE_S = 7
# What Ray takes its time for is shortened: a node counts as lost after some 3 s, not 15 to 30.
QUICK = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(NOTICE_S),
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Nodes:
    """The cluster's nodes beside its head."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.processes: list[subprocess.Popen[bytes]] = []

    def add(self) -> subprocess.Popen[bytes]:
        """Start one as a container does, and wait until it is there."""
        import ray

        before = len(ray.nodes())  # those that are gone stay in there
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={self._address}"]
        options = ["--num-cpus=1", "--object-store-memory=80000000"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        node = subprocess.Popen([*command, *options], start_new_session=True, **quiet)
        self.processes.append(node)
        _wait_for(lambda: len(ray.nodes()) > before)
        return node

    def end(self) -> None:
        for node in self.processes:
            if node.poll() is None:
                process = psutil.Process(node.pid)
                end_leftovers([*process.children(recursive=True), process])


def _wait_for(condition: Callable[[], bool], *, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A cluster with two nodes for workers."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # The session's own, where a test before had one; modules after this one start theirs.
    with ray_folder() as below, ray_environment(RAY_TMPDIR=str(below), **QUICK):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        ray.init(address=cluster.address, log_to_driver=False)
        made = Nodes(cluster.address)
        made.add()
        made.add()
        yield made
        ray.shutdown()
        made.end()
        cluster.shutdown()


@pytest.fixture(scope="module")
def shop(nodes: Nodes, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("nodes"), base=tiny_base_folder)


def _train(shop: Workshop, *, run_name: str, **changes: object) -> TrainResult:
    settings = {"epochs": EPOCHS, "save_steps": SAVE_STEPS, "general_dataset": [], **changes}
    return shop.train(run_name=run_name, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def undisturbed(shop: Workshop) -> dict[str, np.ndarray]:
    """The tensors of a run that nothing happens to."""
    return shop.tensors(_train(shop, run_name="undisturbed"))


def _first_again(heard: list[int]) -> int:
    """The step with which a run went on that had come further."""
    return next(after for before, after in itertools.pairwise(heard) if after <= before)


def test_a_node_that_gets_sigterm_costs_only_the_steps_after_its_checkpoint(
    shop: Workshop, nodes: Nodes, undisturbed: dict[str, np.ndarray]
) -> None:
    """The only checkpoint is the one out of turn; another node takes over at the end of the notice."""
    heard: list[int] = []
    saved: list[str | None] = []
    run = shop.settings.storage_path / "terminated"

    def terminate_once(progress: TrainProgress) -> None:
        heard.append(progress.step)
        if saved:
            return
        leaving = nodes.processes[1]
        with held(training_workers()):
            leaving.send_signal(signal.SIGTERM)
            time.sleep(LOOK_SECONDS + 0.5)
        _wait_for((run / LIST_FILE).exists)
        with held(training_workers()):
            saved.append(last_checkpoint(run))
            nodes.add()
            leaving.wait()

    result = _train(shop, run_name="terminated", progress=terminate_once, save_steps=10**6)
    assert saved == [f"checkpoint-{_first_again(heard) - 1}"]
    assert result.steps == STEPS
    for name, values in shop.tensors(result).items():
        assert np.array_equal(undisturbed[name], values), name


def test_a_run_whose_raylet_is_killed_goes_on_with_the_workers_that_are_left(
    shop: Workshop, nodes: Nodes, undisturbed: dict[str, np.ndarray]
) -> None:
    heard: list[int] = []
    killed: list[int] = []

    def kill_once(progress: TrainProgress) -> None:
        heard.append(progress.step)
        if progress.step >= 5 and not killed:
            family = psutil.Process(nodes.processes[-1].pid).children(recursive=True)
            killed.extend(process.pid for process in family if process.name() == "raylet")
            os.kill(killed[0], signal.SIGKILL)

    result = _train(shop, run_name="killed", progress=kill_once, min_workers=1)
    assert _first_again(heard) % SAVE_STEPS == 1
    assert result.steps == STEPS
    for name, values in shop.tensors(result).items():
        assert np.abs(values - undisturbed[name]).max() < 1e-4, name
