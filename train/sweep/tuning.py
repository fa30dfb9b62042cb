"""Runs trials by Ray Tune: each is a training run of its own, driven by a Tune trial that takes no CPU itself.

A Tune trial is an actor that starts Ray Train, as a run's driver does elsewhere. It is placed on the node of the
sweep's driver by a thousandth of that node's own mark and reserves nothing else, so that all CPUs are there for the
workers of the run that it drives: trials that each held a CPU could wait for each other's for ever.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from pydantic import JsonValue
from ray import tune

from indexer.board import Board
from indexer.errors import GraftworkError
from train.sweep.trainable import TrialJob, train_trial
from train.sweep.trials import shown_value
from train.types import TrainProgress

if TYPE_CHECKING:
    from ray.tune import ResultGrid

# Below a sweep's folder: what Ray Tune itself writes.
TUNE_FOLDER = "tune"
_POLL_SECONDS = 0.5
# A variable of Tune's; its newer output prints also where it is told to be silent (ray.tune.experimental.output).
_NEW_OUTPUT = "RAY_AIR_NEW_OUTPUT"
# Every node has 1 of a resource with its address in its name.
_NODE_SHARE = 0.001

TrialListener = Callable[[str, TrainProgress], None]


def run_trials(
    jobs: Mapping[str, TrialJob], *, concurrent: int, folder: Path, listener: TrialListener | None
) -> dict[str, str]:
    """Run trials on the initialised Ray cluster, and wait for all of them; one that fails does not end the others.

    Args:
        jobs: The trials, by the name of their run.
        concurrent: How many at a time.
        folder: The sweep's folder.
        listener: Called in this thread with the name of a run and how far it is.

    Returns:
        Of the trials that failed, the reason that Tune knows, by the name of their run; their records tell more where
        they came to writing one.
    """
    board: Board[tuple[str, TrainProgress]] | None = None if listener is None else Board()
    stop = _Stop()
    tuner = _tuner(jobs, concurrent=concurrent, folder=folder, board=board, stop=stop)
    try:
        grid = _fitted(tuner, stop=stop, deliver=lambda: _deliver(board, listener))
    finally:
        if board is not None:
            board.close()
    return {run: _last_line(result.error) for run, result in zip(jobs, grid, strict=True) if result.error is not None}


class _Stop(tune.Stopper):
    """Ends all trials once it is told to, and starts no more."""

    def __init__(self) -> None:
        self.told = False

    def __call__(self, trial_id: str, result: Mapping[str, object]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        return self.told


def _tuner(
    jobs: Mapping[str, TrialJob],
    *,
    concurrent: int,
    folder: Path,
    board: Board[tuple[str, TrainProgress]] | None,
    stop: _Stop,
) -> tune.Tuner:
    trials = [{"run": run, **{name: _plain(value) for name, value in job.values.items()}} for run, job in jobs.items()]
    here = f"node:{ray.util.get_node_ip_address()}"
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(train_trial, jobs=dict(jobs), board=board), {here: _NODE_SHARE}),
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(max_concurrent_trials=concurrent),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"), storage_path=str(folder / TUNE_FOLDER), stop=stop, verbose=0
        ),
    )


def _fitted(tuner: tune.Tuner, *, stop: _Stop, deliver: Callable[[], None]) -> ResultGrid:
    """Run the tuner in a thread, so that Ctrl-C reaches the caller at once."""
    results: list[ResultGrid] = []
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            results.append(tuner.fit())
        except BaseException as error:  # noqa: BLE001  carried to the waiting thread and raised there
            failures.append(error)

    thread = threading.Thread(target=fit, name="graftwork-sweep", daemon=True)
    try:
        with _silent_tune():
            thread.start()
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
                deliver()
    finally:
        stop.told = True  # of an interrupted sweep, in a process that lives on: Tune ends its trials in some 15 s
    if not failures:
        return results[0]
    raise GraftworkError(f"Ray Tune failed: {' '.join(str(failures[0]).split())}.") from failures[0]


def _last_line(error: Exception) -> str:
    """Return what names the exception and its message; the lines before it are a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _plain(value: JsonValue) -> JsonValue:
    """Tune would look for ranges inside of mappings and lists: it gets them as text."""
    return shown_value(value) if isinstance(value, dict | list) else value


@contextmanager
def _silent_tune() -> Iterator[None]:
    """Keep Tune's tables, and the tracebacks of its log, off the output: what fails stands in the runs' records."""
    logger, former = logging.getLogger("ray.tune"), os.environ.get(_NEW_OUTPUT)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    os.environ[_NEW_OUTPUT] = "0"
    try:
        yield
    finally:
        logger.setLevel(level)
        if former is None:
            del os.environ[_NEW_OUTPUT]
        else:
            os.environ[_NEW_OUTPUT] = former


def _deliver(board: Board[tuple[str, TrainProgress]] | None, listener: TrialListener | None) -> None:
    if board is None or listener is None:
        return
    for run, progress in board.take():
        listener(run, progress)
