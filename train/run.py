"""A training run from a dataset to a published adapter version."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.errors import UnavailableError
from train.claim import RESUMABLE_ONLY_WITH, claim_run
from train.plan import BEST, WorkerOutcome
from train.prepare import PreparedRun, prepare_run
from train.publish import engine_for, publish
from train.registry.layout import ADAPTER_FILES
from train.registry.manifest import TrainingRecord
from train.registry.registry import AdapterRegistry
from train.runs.recording import Recording, recorded_run
from train.settings import TrainSettings
from train.starts import START, make_plain
from train.types import ProgressCallback, TrainProgress, TrainRequest, TrainResult
from train.unpublished import UnpublishedAdapter

if TYPE_CHECKING:
    from train.launch import LaunchedRun

__all__ = ["TrainProgress", "TrainRequest", "TrainResult", "run_training"]


def run_training(
    request: TrainRequest,
    *,
    settings: TrainSettings,
    registry: AdapterRegistry,
    progress: ProgressCallback | None = None,
    start_ray: Callable[[], None] | None = None,
) -> TrainResult:
    """Train an adapter on the initialised Ray cluster and publish it.

    Args:
        request: What to train.
        settings: How.
        registry: Where the adapter goes.
        progress: Called in this thread with what the workers say, at most twice a second.
        start_ray: Called once the request, the data and the base model have passed every check, to initialise Ray.

    Raises:
        InputError: The request, the dataset or the base model cannot be used; found before any worker starts.
        NotFoundError: The dataset or the base model does not exist.
        ConflictError: `run_name` is a run with other data or settings.
        UnavailableError: Ray is not initialised, the cluster is too small, it lacks the engine that the adapter is to
            be checked in, or a folder cannot be written.
        GateError: The scores are not what the gate asks for; the adapter is kept in the run's folder, unpublished.
        EngineCheckError: The engine does not compute with the adapter what PEFT does; it is kept there, too.
        GraftworkError: The workers failed more often than the settings allow, or the loss was out of hand.
    """
    from train.launch import check_cluster

    check_places(settings, registry=registry)
    prepared = prepare_run(request, settings=settings)
    if start_ray is not None:
        start_ray()
    check_cluster(prepared.plan.settings)
    engine = engine_for(prepared)
    run_name = request.run_name or _new_run_name(request.name)
    recorded = claimed_run(prepared, request=request, run_name=run_name, progress=progress)
    with recorded as recording, tempfile.TemporaryDirectory(prefix="graftwork-run-") as scratch:
        launched, adapter = train_adapter(
            prepared, run_name=run_name, progress=recording.hear, scratch=Path(scratch), sweep=request.sweep
        )
        manifest = publish(adapter, prepared, request=request, registry=registry, engine=engine)
    outcome, record = launched.outcome, adapter.record
    result = TrainResult(
        manifest=manifest,
        run_name=run_name,
        run_path=launched.path,
        steps=outcome.steps,
        planned_steps=record.planned_steps,
        seconds=time.time() - prepared.plan.started,
        train_seconds=outcome.train_seconds,
        first_loss=outcome.first_loss,
        final_loss=outcome.final_loss,
        scores=outcome.scores,
        tokens=outcome.tokens,
        tokens_per_s=outcome.tokens_per_s,
        stopped_early=record.stopped_early,
        best_step=outcome.best_step,
        statistics=prepared.statistics,
    )
    return recording.finish(result)


def claimed_run(
    prepared: PreparedRun, *, request: TrainRequest, run_name: str, progress: ProgressCallback | None
) -> AbstractContextManager[Recording]:
    """Claim a run's name; the record of the run is kept for the length of the block.

    Raises:
        ConflictError: The name is that of a run with other data or settings.
        InputError: The run has a record already, which cannot be read.
        UnavailableError: The record cannot be written.
    """
    claim_run(prepared, run_name=run_name)
    return recorded_run(prepared, request=request, run_name=run_name, shaped_by=RESUMABLE_ONLY_WITH, progress=progress)


def train_adapter(
    prepared: PreparedRun, *, run_name: str, progress: ProgressCallback | None, scratch: Path, sweep: str | None = None
) -> tuple[LaunchedRun, UnpublishedAdapter]:
    """Train on the initialised Ray cluster; return what came of it, and the adapter, which lies in `scratch`.

    Raises:
        UnavailableError: Ray is not initialised, or the cluster is too small for the workers.
        GraftworkError: The workers failed more often than the settings allow, or the loss was out of hand.
    """
    from train.launch import launch

    launched = launch(prepared, run_name=run_name, progress=progress, scratch=scratch)
    folder = _adapter_folder(_chosen(launched.adapter), into=scratch / "adapter", base_name=prepared.base.name)
    if (start := launched.adapter / START).is_file():
        make_plain(folder, start=start)
    record = _training_record(prepared, launched.outcome, run_name=run_name, sweep=sweep)
    return launched, UnpublishedAdapter(folder, record, launched.outcome.scores)


def check_places(settings: TrainSettings, *, registry: AdapterRegistry) -> None:
    """See that runs and versions can be written.

    Raises:
        InputError: The registry is damaged.
        UnavailableError: One of the places cannot be written, or not be reached.
    """
    _check_writable(settings.storage_path, what="run storage")
    if isinstance(registry.root, Path):
        _check_writable(registry.root, what="registry")
    registry.revision()


def _new_run_name(adapter: str) -> str:
    """Return a name that is free, and short enough to be given back as `run_name`."""
    return f"{adapter[:40]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _training_record(
    prepared: PreparedRun, outcome: WorkerOutcome, *, run_name: str, sweep: str | None = None
) -> TrainingRecord:
    settings, planned = prepared.plan.settings, prepared.plan.order.steps
    return TrainingRecord(
        run=run_name,
        workers=settings.workers,
        steps=outcome.steps,
        planned_steps=planned,
        epochs=round(outcome.tokens / prepared.statistics.tokens, 3),
        seconds=round(outcome.train_seconds, 1),
        tokens=outcome.tokens,
        supervised_tokens=prepared.statistics.supervised_tokens,
        first_loss=outcome.first_loss,
        final_loss=outcome.final_loss,
        learning_rate=settings.learning_rate,
        batch_rows=len(prepared.plan.order.rows) // planned,
        max_length=settings.max_length,
        seed=settings.seed,
        dtype=_number_types(prepared),
        stopped_early=outcome.steps < planned,
        best_step=outcome.best_step,
        sweep=sweep,
    )


def _number_types(prepared: PreparedRun) -> str:
    held = prepared.plan.settings.quantization
    return prepared.plan.dtype if held == "none" else f"{held} and {prepared.plan.dtype}"


def _check_writable(folder: Path, *, what: str) -> None:
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UnavailableError(f"The {what} {folder} cannot be written, because of {nearest}; choose another folder.")


def _chosen(checkpoint: Path) -> Path:
    """Where in a checkpoint the adapter lies that the run is for."""
    best = checkpoint / BEST
    return best if best.is_dir() else checkpoint


def _adapter_folder(checkpoint: Path, *, into: Path, base_name: str) -> Path:
    """Copy an adapter out of a checkpoint; it names its base model, not a folder of the machine it was trained on."""
    into.mkdir()
    for name in ADAPTER_FILES:
        shutil.copyfile(checkpoint / name, into / name)
    config = into / "adapter_config.json"
    fields = json.loads(config.read_bytes())
    fields["base_model_name_or_path"] = base_name
    config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    return into
