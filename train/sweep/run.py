"""A sweep from its file to the published best adapter."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from indexer.errors import NotFoundError
from train.claim import check_claim
from train.engine.verdict import EngineCheckError
from train.gate import GateError
from train.prepare import PreparedRun
from train.publish import engine_for, publish
from train.registry.names import check_name
from train.registry.registry import AdapterRegistry
from train.run import check_places
from train.runs.driver import this_driver
from train.runs.recording import note_published
from train.runs.stored import Run, read_run
from train.settings import TrainSettings
from train.sweep.checking import check_concurrent, measured_on, prepare_trials
from train.sweep.record import SweepRecord, check_sweep, write_results, write_sweep
from train.sweep.results import SweepResult, TrialResult, ranked, trial_result
from train.sweep.spec import SweepSpec
from train.sweep.trials import MOST_TRIALS, Trial, make_trials
from train.types import TrainProgress, TrainRequest
from train.unpublished import kept_adapter

Prepared = Mapping[str, tuple[TrainRequest, PreparedRun]]


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """How far a trial has come.

    Attributes:
        run: Name of its run.
        number: Which one it is, from 1.
        trials: How many there are.
        progress: Its own report.
    """

    run: str
    number: int
    trials: int
    progress: TrainProgress


def run_sweep(
    request: TrainRequest,
    *,
    spec: SweepSpec,
    settings: TrainSettings,
    registry: AdapterRegistry,
    publish_best: bool = True,
    progress: Callable[[SweepProgress], None] | None = None,
    start_ray: Callable[[], None] | None = None,
) -> SweepResult:
    """Train every trial of a sweep on the initialised Ray cluster, and publish the best one.

    The sweep's name is the request's `run_name`; one that exists is gone on with: trials that are finished are not
    trained again, the others go on from their last checkpoints. A time budget is each trial's own.

    Args:
        request: What to train; `run_name` is the sweep's name.
        spec: With which values.
        settings: All other settings.
        registry: Where the best adapter goes.
        publish_best: Whether it does.
        progress: Called in this thread with what the trials say.
        start_ray: Called once every trial has passed every check, to initialise Ray, if there is anything to train
            or to check in the engine.

    Returns:
        What came of it, also where trials failed or the gate kept the best one back: see `SweepResult.error`.

    Raises:
        InputError: The sweep, one of its trials, the datasets or the base model cannot be used; found before any worker
            starts.
        NotFoundError: A dataset or the base model does not exist.
        ConflictError: The sweep or one of its runs exists with other data or settings, or is under way.
        UnavailableError: Ray is not initialised, the cluster is too small, or a folder cannot be written.
    """
    began = time.monotonic()
    check_places(settings, registry=registry)
    name = request.run_name or _new_sweep_name(request.name)
    check_name(f"{name}-{MOST_TRIALS}", what="training run")
    base = _at_one_place(settings, workers=request.workers)
    trials = make_trials(spec, name=name, base=base)
    asked = dataclasses.replace(request, workers=None)
    prepared = prepare_trials(asked, trials, sweep=name, metric=spec.metric)
    folder = base.storage_path / name
    record = _record(name, request.name, trials, first=prepared[trials[0].run][1])
    before = check_sweep(folder, record)
    for run, (_, each) in prepared.items():
        check_claim(each, run_name=run)
    waiting = {run: each for run, each in prepared.items() if not _is_done(base.storage_path / run)}
    if waiting:
        if start_ray is not None:
            start_ray()
        _check_cluster(trials, concurrent=spec.concurrent)
        if publish_best:
            for each in {run.plan.settings.rank: run for _, run in prepared.values()}.values():
                engine_for(each)
    write_sweep(folder, record if before is None else dataclasses.replace(record, started=before.started))
    reasons: Mapping[str, str] = {}
    if waiting:
        reasons = _train(waiting, folder=folder, trials=trials, concurrent=spec.concurrent, progress=progress)
    results = [_result(trial, reasons.get(trial.run), metric=spec.metric) for trial in trials]
    found = SweepResult(
        name=name,
        adapter=request.name,
        folder=str(folder),
        metric=spec.metric,
        trials=ranked(results, metric=spec.metric),
        trained=len(waiting),
        seconds=time.monotonic() - began,
    )
    write_results(folder, found)
    if publish_best and found.best is not None:
        found = _published(found, found.best, prepared, registry=registry, start_ray=None if waiting else start_ray)
        found = dataclasses.replace(found, seconds=time.monotonic() - began)
        write_results(folder, found)
    return found


def _new_sweep_name(adapter: str) -> str:
    """Return a name that is free, and short enough for those of its runs."""
    return f"{adapter[:32]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _at_one_place(settings: TrainSettings, *, workers: int | None) -> TrainSettings:
    """The settings all trials share: with absolute folders, for a trial works in another folder."""
    places = {name: getattr(settings, name).absolute() for name in ("storage_path", "models_dir")}
    return settings.model_copy(update={**places, **({} if workers is None else {"workers": workers})})


def _record(name: str, adapter: str, trials: tuple[Trial, ...], *, first: PreparedRun) -> SweepRecord:
    return SweepRecord(
        name=name,
        adapter=adapter,
        trials={trial.run: dict(trial.values) for trial in trials},
        measured_on=measured_on(first),
        started=datetime.now(UTC),
        driver=this_driver(),
    )


def _check_cluster(trials: tuple[Trial, ...], *, concurrent: int) -> None:
    import ray

    from train.launch import check_cluster

    for trial in trials:
        check_cluster(trial.settings)
    check_concurrent(trials, concurrent=concurrent, cluster=ray.cluster_resources())


def _train(
    waiting: Prepared,
    *,
    folder: Path,
    trials: tuple[Trial, ...],
    concurrent: int,
    progress: Callable[[SweepProgress], None] | None,
) -> dict[str, str]:
    from train.sweep.trainable import TrialJob
    from train.sweep.tuning import run_trials

    numbers = {trial.run: number for number, trial in enumerate(trials, start=1)}

    def hear(run: str, each: TrainProgress) -> None:
        if progress is not None:
            progress(SweepProgress(run, numbers[run], len(trials), each))

    jobs = {trial.run: TrialJob(trial.values, *waiting[trial.run]) for trial in trials if trial.run in waiting}
    return run_trials(jobs, concurrent=concurrent, folder=folder, listener=None if progress is None else hear)


def _stored(folder: Path) -> Run | None:
    try:
        return read_run(folder)
    except NotFoundError:
        return None


def _is_done(folder: Path) -> bool:
    """Whether a run is finished, and its adapter is there to be published."""
    run = _stored(folder)
    if run is None or run.state != "finished":
        return False
    try:
        kept_adapter(folder)
    except NotFoundError:
        return False
    return True


def _result(trial: Trial, reason: str | None, *, metric: str) -> TrialResult:
    run = _stored(trial.settings.storage_path / trial.run)
    finished = run is not None and run.state == "finished"
    return trial_result(
        trial,
        result=run.record.result if run is not None and finished else None,
        reason=(None if run is None else run.record.reason) or reason,
        metric=metric,
    )


def _published(
    found: SweepResult,
    best: TrialResult,
    prepared: Prepared,
    *,
    registry: AdapterRegistry,
    start_ray: Callable[[], None] | None,
) -> SweepResult:
    """Publish the best trial, unless it was by an earlier call; Ray is started if it is to be checked in the engine."""
    if best.result is not None and best.result.adapter is not None and _is_there(best.result.adapter, registry):
        return dataclasses.replace(found, published=best.result.adapter)
    request, run = prepared[best.run]
    folder = run.plan.settings.storage_path / best.run
    if run.plan.settings.engine_check and start_ray is not None:
        start_ray()
    try:
        manifest = publish(kept_adapter(folder), run, request=request, registry=registry, engine=engine_for(run))
    except (GateError, EngineCheckError) as error:
        return dataclasses.replace(found, withheld=str(error))
    note_published(folder, adapter=manifest.ref)
    return dataclasses.replace(found, published=manifest.ref)


def _is_there(ref: str, registry: AdapterRegistry) -> bool:
    try:
        registry.resolve(ref)
    except NotFoundError:
        return False
    return True
