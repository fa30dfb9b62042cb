"""A training run from a dataset to a published adapter version."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from indexer.errors import ConflictError, UnavailableError
from train.plan import WorkerOutcome
from train.prepare import PreparedRun, prepare_run
from train.registry.files import replace_file
from train.registry.manifest import AdapterManifest, Provenance, TrainingRecord
from train.registry.registry import ADAPTER_FILES, AdapterRegistry
from train.settings import TrainSettings
from train.types import ProgressCallback, TrainProgress, TrainRequest, TrainResult

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
        UnavailableError: Ray is not initialised, the cluster is too small, or a folder cannot be written.
        GraftworkError: The workers failed more often than the settings allow.
    """
    from train.launch import check_cluster, launch

    for what, folder in (("run storage", settings.storage_path), ("registry", registry.root)):
        _check_writable(folder, what=what)
    prepared = prepare_run(request, settings=settings)
    if start_ray is not None:
        start_ray()
    check_cluster(prepared.plan.settings)
    run_name = request.run_name or _new_run_name(request.name)
    _claim_run(prepared, run_name=run_name)
    with tempfile.TemporaryDirectory(prefix="graftwork-run-") as scratch:
        launched = launch(prepared, run_name=run_name, progress=progress, scratch=Path(scratch))
        outcome, planned = launched.outcome, prepared.plan.order.steps
        record = _training_record(prepared, outcome, run_name=run_name)
        manifest = _publish(
            launched.adapter,
            request=request,
            prepared=prepared,
            record=record,
            registry=registry,
            loss=outcome.eval_loss,
        )
    return TrainResult(
        manifest=manifest,
        run_name=run_name,
        run_path=launched.path,
        steps=outcome.steps,
        planned_steps=planned,
        seconds=time.time() - prepared.plan.started,
        train_seconds=outcome.train_seconds,
        first_loss=outcome.first_loss,
        final_loss=outcome.final_loss,
        eval_loss=outcome.eval_loss,
        tokens=outcome.tokens,
        tokens_per_s=outcome.tokens_per_s,
        stopped_early=record.stopped_early,
        statistics=prepared.statistics,
    )


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
    path = settings.storage_path / run_name / "graftwork-run.txt"
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
)


def _name_base(config: Path, base_name: str) -> None:
    """Let the adapter name its base model instead of a folder of the machine it was trained on."""
    fields = json.loads(config.read_bytes())
    fields["base_model_name_or_path"] = base_name
    config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")


def _publish(
    checkpoint: Path,
    *,
    request: TrainRequest,
    prepared: PreparedRun,
    record: TrainingRecord,
    registry: AdapterRegistry,
    loss: float | None,
) -> AdapterManifest:
    with tempfile.TemporaryDirectory(prefix="graftwork-adapter-") as folder:
        for name in ADAPTER_FILES:
            shutil.copyfile(checkpoint / name, Path(folder) / name)
        _name_base(Path(folder) / "adapter_config.json", prepared.base.name)
        return registry.publish(
            Path(folder),
            name=request.name,
            base=prepared.base,
            provenance=Provenance(dataset=prepared.dataset, training=record, created_by=request.created_by),
            scores=None if loss is None else {"eval_loss": loss},
            make_stable=request.make_stable,
        )
