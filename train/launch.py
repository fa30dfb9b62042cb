"""Runs the training loop on Ray Train and waits for it, in a thread, so that Ctrl-C reaches the caller at once."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from indexer.errors import GraftworkError, UnavailableError
from train.faults.checkpoint_list import last_checkpoint, mend_list
from train.faults.storage import storage_error, storage_fault
from train.plan import WorkerOutcome
from train.prepare import PreparedRun
from train.progress import ProgressFeed
from train.settings import TrainSettings
from train.types import ProgressCallback
from train.worker import train_loop

if TYPE_CHECKING:
    from ray.train import Result
    from ray.train.torch import TorchTrainer

_POLL_SECONDS = 0.5
_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class LaunchedRun:
    """What Ray Train brought back.

    Attributes:
        outcome: What rank 0 knows.
        adapter: Folder of the last checkpoint on this machine, which holds the adapter.
        path: The run's folder in the storage.
    """

    outcome: WorkerOutcome
    adapter: Path
    path: str


def launch(prepared: PreparedRun, *, run_name: str, progress: ProgressCallback | None, scratch: Path) -> LaunchedRun:
    """Train on the initialised Ray cluster.

    Raises:
        UnavailableError: Ray is not initialised, the cluster is too small for the workers, or the folder of the run is
            gone or full.
        GraftworkError: The workers failed more often than the settings allow, or the loss was out of hand.
    """
    settings = prepared.plan.settings
    check_cluster(settings)
    mend_list(settings.storage_path / run_name)
    feed = ProgressFeed(progress)
    try:
        trainer = _trainer(prepared, run_name=run_name, feed=feed)
        result = _fit(trainer, feed, run_name=run_name, settings=settings)
    finally:
        feed.close()
    outcome = result.return_value
    if isinstance(outcome, WorkerOutcome) and outcome.fault is not None:
        raise GraftworkError(_told(outcome, result, run_name=run_name))
    if not isinstance(outcome, WorkerOutcome) or result.checkpoint is None:
        raise GraftworkError(f"The training run {run_name} ended without a checkpoint; see {result.path}.")
    adapter = Path(result.checkpoint.to_directory(str(scratch / "checkpoint")))
    return LaunchedRun(outcome=outcome, adapter=adapter, path=result.path)


def _told(outcome: WorkerOutcome, result: Result, *, run_name: str) -> str:
    kept = "nothing of it was saved" if result.checkpoint is None else f"{result.checkpoint.path} is from before"
    return (
        f"The training run {run_name} ended at step {outcome.steps}, because {outcome.fault}; {kept}. Look at the rows "
        "of these steps, or lower learning_rate or max_grad_norm and take another run name."
    )


def check_cluster(settings: TrainSettings) -> None:
    """Refuse to wait for workers that the cluster can never place.

    Raises:
        UnavailableError: Ray is not initialised, or lacks CPUs or GPUs.
    """
    if not ray.is_initialized():
        raise UnavailableError("Ray is not running in this process; call ray.init() before training.")
    resources, workers = ray.cluster_resources(), settings.least_workers
    for kind, wanted in (
        ("CPU", workers * settings.cpus_per_worker),
        ("GPU", workers if settings.use_gpu else 0),
    ):
        if resources.get(kind, 0) < wanted:
            raise UnavailableError(
                f"{workers} workers need {math.ceil(wanted)} {kind}s, the Ray cluster has "
                f"{resources.get(kind, 0):g}; use fewer workers or a larger cluster."
            )


def _trainer(prepared: PreparedRun, *, run_name: str, feed: ProgressFeed) -> TorchTrainer:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from train.faults.sigterm import HeedingTorchConfig
    from train.faults.storage_watch import StorageWatch

    settings = prepared.plan.settings
    settings.storage_path.mkdir(parents=True, exist_ok=True)
    folder = settings.storage_path.resolve() / run_name
    threads = str(max(1, int(settings.cpus_per_worker)))
    return TorchTrainer(
        train_loop,
        train_loop_config={
            "plan": prepared.plan,
            "rows": ray.put(prepared.rows),
            "progress": feed.sender,
            "folder": str(folder),
        },
        torch_config=HeedingTorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=_sizes(settings),
            elastic_resize_monitor_interval_s=settings.resize_interval_s,
            use_gpu=settings.use_gpu,
            resources_per_worker={"CPU": settings.cpus_per_worker, **({"GPU": 1} if settings.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=run_name,
            storage_path=str(folder.parent),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
            callbacks=[StorageWatch(folder)],
            worker_runtime_env={
                "env_vars": {
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                    "TOKENIZERS_PARALLELISM": "false",
                }
            },
        ),
    )


def _sizes(settings: TrainSettings) -> int | tuple[int, int]:
    """How many workers Ray Train may start; from two numbers it takes as many as the cluster has room for."""
    least, most = settings.least_workers, settings.workers
    return most if least == most else (least, most)


def _fit(trainer: TorchTrainer, feed: ProgressFeed, *, run_name: str, settings: TrainSettings) -> Result:
    from ray.train import TrainingFailedError

    results: list[Result] = []
    failures: list[BaseException] = []

    def fit() -> None:
        try:
            results.append(trainer.fit())
        except BaseException as error:  # noqa: BLE001  carried to the waiting thread and raised there
            failures.append(error)

    thread = threading.Thread(target=fit, name="graftwork-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        feed.deliver()
    if not failures:
        return results[0]
    error = failures[0]
    if not isinstance(error, TrainingFailedError):
        raise error
    folder = settings.storage_path.resolve() / run_name
    if fault := storage_fault(_causes(error), folder=folder):
        raise storage_error(fault, run_name=run_name, folder=folder, kept=last_checkpoint(folder)) from error
    raise GraftworkError(
        f"The training run {run_name} failed, at last with: {_reason(error)}; logs and checkpoints are in {folder}."
    ) from error


def _reason(error: BaseException) -> str:
    """Return the last line of a worker's failure, which names the exception and its message."""
    lines = [line.strip() for line in str(_causes(error)[0]).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """What Ray Train's error is about: what the workers raised, or its controller; else the error itself."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", None) or {}
    return [*failures.values()] or [getattr(error, "controller_failure", error)]
