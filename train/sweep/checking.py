"""Everything about a sweep that can be refused before its first trial starts."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

from indexer.errors import GraftworkError, InputError, UnavailableError
from train.prepare import PreparedRun, RunData, prepare_run, read_data
from train.scores import measured_names
from train.settings import TrainSettings
from train.sweep.results import FINAL_LOSS
from train.sweep.trials import Trial
from train.types import TrainRequest

# Settings that change no token of the datasets; trials that differ in nothing else share their rows.
_ROWS_DO_NOT_DEPEND_ON = frozenset(
    {
        "rank",
        "alpha",
        "dropout",
        "use_rslora",
        "lora",
        "target_modules",
        "learning_rate",
        "lr_scheduler",
        "warmup_ratio",
        "weight_decay",
        "max_grad_norm",
        "epochs",
        "max_steps",
        "per_device_batch_size",
        "gradient_accumulation",
        "workers",
    }
)


def prepare_trials(
    request: TrainRequest, trials: Sequence[Trial], *, sweep: str, metric: str
) -> dict[str, tuple[TrainRequest, PreparedRun]]:
    """Put every trial through the checks of a run; datasets are read and tokenised once for all that share them.

    Args:
        request: What is trained.
        trials: With which settings.
        sweep: Name of the sweep.
        metric: What will be chosen by.

    Returns:
        By the name of a trial's run, its request and what it will train.

    Raises:
        GraftworkError: What `prepare_run` raises, with the trial named.
        InputError: A trial will not have the metric.
    """
    read = _remembered(read_data)
    prepared: dict[str, tuple[TrainRequest, PreparedRun]] = {}
    for trial in trials:
        asked = dataclasses.replace(request, run_name=trial.run, sweep=sweep)
        try:
            _check_metric(metric, request=request, settings=trial.settings)
            prepared[trial.run] = asked, prepare_run(asked, settings=trial.settings, read=read)
        except GraftworkError as error:
            raise type(error)(f"The sweep's trial {trial.label} cannot start: {error}") from error
    return prepared


def check_concurrent(trials: Sequence[Trial], *, concurrent: int, cluster: Mapping[str, float]) -> None:
    """Refuse to run more trials at a time than the cluster has CPUs and GPUs for.

    Args:
        trials: The trials.
        concurrent: How many at a time.
        cluster: What the cluster has, by kind.

    Raises:
        UnavailableError: They would wait for each other.
    """
    for kind, wanted in (("CPU", _cpus), ("GPU", _gpus)):
        most = sum(sorted((wanted(trial.settings) for trial in trials), reverse=True)[:concurrent])
        if most > cluster.get(kind, 0):
            raise UnavailableError(
                f"{min(concurrent, len(trials))} trials at a time need up to {most:g} {kind}s, the Ray cluster has "
                f"{cluster.get(kind, 0):g}; lower concurrent or workers, or use a larger cluster."
            )


def measured_on(prepared: PreparedRun) -> str:
    """Hex digest of what a run is measured on: trials measured on something else cannot be compared with it."""
    digest = hashlib.sha256(str(prepared.plan.settings.eval_answers).encode())
    for rows in (prepared.rows.evaluation, prepared.rows.general):
        digest.update(b"none" if rows is None else rows.ids.tobytes() + rows.supervised.tobytes())
    return digest.hexdigest()


def _cpus(settings: TrainSettings) -> float:
    return settings.workers * settings.cpus_per_worker


def _gpus(settings: TrainSettings) -> float:
    return settings.workers if settings.use_gpu else 0


def _check_metric(metric: str, *, request: TrainRequest, settings: TrainSettings) -> None:
    measured = measured_names(
        evaluation=bool(request.eval_datasets),
        answers=settings.eval_answers > 0,
        general=settings.general_dataset != [],
    )
    usable = {name for name in measured if not name.startswith("base_")} | {FINAL_LOSS}
    if metric not in usable:
        raise InputError(
            f"the metric {metric!r} is not measured; it may be {', '.join(sorted(usable))} (f1, eval_loss and what "
            "follows from them want an evaluation dataset)."
        )


def _remembered(
    read: Callable[[TrainRequest, TrainSettings], RunData],
) -> Callable[[TrainRequest, TrainSettings], RunData]:
    known: dict[str, RunData] = {}

    def remembered(request: TrainRequest, settings: TrainSettings) -> RunData:
        key = settings.model_dump_json(exclude=set(_ROWS_DO_NOT_DEPEND_ON))
        if key not in known:
            known[key] = read(request, settings)
        return known[key]

    return remembered
