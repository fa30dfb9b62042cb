"""A training run from a dataset to a published adapter version."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from indexer.errors import ConflictError, UnavailableError
from train.gate import GateError, unmet
from train.plan import BEST, WorkerOutcome
from train.prepare import PreparedRun, prepare_run
from train.registry.files import replace_file
from train.registry.layout import ADAPTER_FILES
from train.registry.manifest import Provenance, TrainingRecord
from train.registry.publishing import publish_adapter
from train.registry.registry import AdapterRegistry
from train.runs.recording import recorded_run
from train.settings import TrainSettings
from train.storage import CLAIM_FILE
from train.types import ProgressCallback, TrainProgress, TrainRequest, TrainResult

# Folder of a run in which an adapter lies that its gate kept from being published.
UNPUBLISHED = "unpublished"

__all__ = ["UNPUBLISHED", "TrainProgress", "TrainRequest", "TrainResult", "run_training"]


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
        UnavailableError: Ray is not initialised, the cluster is too small, or a folder cannot be written.
        GateError: The scores are not what the gate asks for; the adapter is kept in the run's folder, unpublished.
        GraftworkError: The workers failed more often than the settings allow, or the loss was out of hand.
    """
    from train.launch import check_cluster, launch

    _check_writable(settings.storage_path, what="run storage")
    if isinstance(registry.root, Path):
        _check_writable(registry.root, what="registry")
    registry.revision()
    prepared = prepare_run(request, settings=settings)
    if start_ray is not None:
        start_ray()
    check_cluster(prepared.plan.settings)
    run_name = request.run_name or _new_run_name(request.name)
    _claim_run(prepared, run_name=run_name)
    recorded = recorded_run(
        prepared, request=request, run_name=run_name, shaped_by=_RESUMABLE_ONLY_WITH, progress=progress
    )
    with recorded as recording, tempfile.TemporaryDirectory(prefix="graftwork-run-") as scratch:
        launched = launch(prepared, run_name=run_name, progress=recording.hear, scratch=Path(scratch))
        outcome, planned = launched.outcome, prepared.plan.order.steps
        record = _training_record(prepared, outcome, run_name=run_name)
        folder = _adapter_folder(
            _chosen(launched.adapter), into=Path(scratch) / "adapter", base_name=prepared.base.name
        )
        if reasons := unmet(prepared.gate, outcome.scores):
            kept = _keep(folder, settings.storage_path / run_name / UNPUBLISHED, scores=outcome.scores)
            raise GateError(
                f"The adapter {request.name} is not published: {'; '.join(reasons)}; it is kept in {kept}, and "
                f"`graftwork adapters import {kept} --name {request.name}` publishes it all the same."
            )
        manifest = publish_adapter(
            folder,
            registry=registry,
            name=request.name,
            base=prepared.base,
            provenance=Provenance(dataset=prepared.dataset, training=record, created_by=request.created_by),
            scores=outcome.scores or None,
            make_stable=request.make_stable,
        )
    result = TrainResult(
        manifest=manifest,
        run_name=run_name,
        run_path=launched.path,
        steps=outcome.steps,
        planned_steps=planned,
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


def _new_run_name(adapter: str) -> str:
    """Return a name that is free, and short enough to be given back as `run_name`."""
    return f"{adapter[:40]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _training_record(prepared: PreparedRun, outcome: WorkerOutcome, *, run_name: str) -> TrainingRecord:
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
        dtype=prepared.plan.dtype,
        stopped_early=outcome.steps < planned,
        best_step=outcome.best_step,
    )


def _check_writable(folder: Path, *, what: str) -> None:
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UnavailableError(f"The {what} {folder} cannot be written, because of {nearest}; choose another folder.")


def _claim_run(prepared: PreparedRun, *, run_name: str) -> None:
    """Note beside the checkpoints what the run is made of; a run that exists must be made of the same."""
    settings = prepared.plan.settings
    facts = {
        "base": prepared.base.fingerprint,
        "dataset": prepared.dataset.sha256,
        "chat_template": prepared.template_sha256,
        "dtype": prepared.plan.dtype,
        "workers": str(settings.workers),
        **{name: repr(getattr(settings, name)) for name in _RESUMABLE_ONLY_WITH},
    }
    text = "".join(f"{name}: {value}\n" for name, value in sorted(facts.items()))
    path = settings.storage_path / run_name / CLAIM_FILE
    if path.is_file():
        known = dict(line.split(": ", 1) for line in path.read_text().splitlines())
        changed = sorted(name for name in facts.keys() | known.keys() if facts.get(name) != known.get(name))
        if changed:
            raise ConflictError(
                f"The run {run_name} exists with another {', '.join(changed)}; give the same, or another run name."
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())


_RESUMABLE_ONLY_WITH = (
    "rank",
    "alpha",
    "dropout",
    "use_rslora",
    "lora",
    "trainer",
    "target_modules",
    "epochs",
    "max_steps",
    "max_length",
    "per_device_batch_size",
    "gradient_accumulation",
    "seed",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "keep_best",
    "early_stopping",
)


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


def _keep(adapter: Path, place: Path, *, scores: Mapping[str, float]) -> Path:
    """Put an adapter that is not published, and its scores, in place of one of an earlier try."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(adapter, place)
    (place / "scores.json").write_text(json.dumps(scores, indent=2, sort_keys=True) + "\n")
    return place
