"""Runs the training loop on Ray Train and waits for it, in a thread, so that Ctrl-C reaches the caller at once."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from indexer.errors import GraftworkError, UnavailableError
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
        UnavailableError: Ray is not initialised, or the cluster is too small for the workers.
        GraftworkError: The workers failed more often than the settings allow, or the loss was out of hand.
    """
    settings = prepared.plan.settings
    check_cluster(settings)
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
    resources = ray.cluster_resources()
    for kind, wanted in (
        ("CPU", settings.workers * settings.cpus_per_worker),
        ("GPU", settings.workers if settings.use_gpu else 0),
    ):
        if resources.get(kind, 0) < wanted:
            raise UnavailableError(
                f"{settings.workers} workers need {math.ceil(wanted)} {kind}s, the Ray cluster has "
                f"{resources.get(kind, 0):g}; use fewer workers or a larger cluster."
            )


def _trainer(prepared: PreparedRun, *, run_name: str, feed: ProgressFeed) -> TorchTrainer:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = prepared.plan.settings
    settings.storage_path.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, int(settings.cpus_per_worker)))
    return TorchTrainer(
        train_loop,
        train_loop_config={"plan": prepared.plan, "rows": ray.put(prepared.rows), "progress": feed.sender},
        torch_config=TorchConfig(backend="nccl" if settings.use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=settings.use_gpu,
            resources_per_worker={"CPU": settings.cpus_per_worker, **({"GPU": 1} if settings.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=run_name,
            storage_path=str(settings.storage_path.resolve()),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
            worker_runtime_env={
                "env_vars": {
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                    "TOKENIZERS_PARALLELISM": "false",
                }
            },
        ),
    )


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
    raise GraftworkError(
        f"The training run {run_name} failed, at last with: {_reason(error)}; "
        f"logs and checkpoints are in {settings.storage_path / run_name}."
    ) from error


def _reason(error: BaseException) -> str:
    """Return the last line of a worker's failure, which names the exception and its message."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    lines = [line.strip() for line in str(next(iter(failures.values()))).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
