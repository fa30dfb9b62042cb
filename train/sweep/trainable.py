"""What Ray Tune calls for each trial: one training run, whose adapter is kept unpublished."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from indexer.board import Board
from train.prepare import PreparedRun
from train.run import claimed_run, train_adapter
from train.runs.record import RunResult
from train.types import ProgressCallback, TrainProgress, TrainRequest


@dataclass(frozen=True, slots=True)
class TrialJob:
    """A trial.

    Attributes:
        values: What it gives the settings that vary, for Tune's own records.
        request: How its run is asked for.
        prepared: What that trains.
    """

    values: Mapping[str, JsonValue]
    request: TrainRequest
    prepared: PreparedRun


def train_trial(
    config: Mapping[str, Mapping[str, JsonValue]],
    *,
    jobs: Mapping[str, TrialJob],
    board: Board[tuple[str, TrainProgress]] | None,
) -> dict[str, float]:
    """Train one trial and keep its adapter in its run's folder, unpublished; what Tune calls in an actor of its own.

    Args:
        config: "trial": "run", the name of the run, and what it gives the settings that vary.
        jobs: The sweep's trials.
        board: Where progress goes.

    Returns:
        The scores, the loss at the end among them.

    Raises:
        GraftworkError: As a training run does; its record says so, too.
    """
    run = str(config["trial"]["run"])
    job = jobs[run]
    prepared = _starting_now(job)
    recorded = claimed_run(prepared, request=job.request, run_name=run, progress=_sender(run, board))
    with recorded as recording, tempfile.TemporaryDirectory(prefix="graftwork-trial-") as scratch:
        launched, adapter = train_adapter(
            prepared, run_name=run, progress=recording.hear, scratch=Path(scratch), sweep=job.request.sweep
        )
        adapter.kept(prepared.plan.settings.storage_path / run)
        outcome, record = launched.outcome, adapter.record
        scores = {name: score for name, score in adapter.scores.items() if math.isfinite(score)}
        result = RunResult(
            adapter=None,
            steps=record.steps,
            planned_steps=record.planned_steps,
            seconds=round(time.time() - prepared.plan.started, 1),
            train_seconds=record.seconds,
            first_loss=record.first_loss,
            final_loss=record.final_loss,
            eval_loss=scores.get("eval_loss"),
            tokens=record.tokens,
            tokens_per_s=round(outcome.tokens_per_s, 1),
            stopped_early=record.stopped_early,
            scores=scores,
        )
        recording.end("finished", result=result)
    return scores if record.final_loss is None else {**scores, "final_loss": record.final_loss}


def _starting_now(job: TrialJob) -> PreparedRun:
    """A trial's clock begins with the trial."""
    now, budget = time.time(), job.request.time_budget_s
    plan = replace(job.prepared.plan, started=now, deadline=None if budget is None else now + budget)
    return replace(job.prepared, plan=plan)


def _sender(run: str, board: Board[tuple[str, TrainProgress]] | None) -> ProgressCallback | None:
    return None if board is None else lambda progress: board.tell((run, progress))
