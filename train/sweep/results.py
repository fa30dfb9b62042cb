"""What came of a sweep: its trials beside each other, the best of them, and what went wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from indexer.errors import GraftworkError, PartialError
from train.gate import GateError
from train.runs.record import RunResult
from train.scores import lower_is_better
from train.sweep.trials import Trial, shown_value

# The loss of the training rows at a run's end, which is no score but may be chosen by.
FINAL_LOSS = "final_loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One trial.

    Attributes:
        run: Name of its run.
        values: What it gave the settings that vary.
        value: What the metric came to; None where the trial failed, or the metric is no number.
        reason: Why it failed; None where it did not.
        result: What its run's record says came of it; None where it failed.
    """

    run: str
    values: Mapping[str, JsonValue]
    value: float | None
    reason: str | None
    result: RunResult | None

    @property
    def state(self) -> str:
        """'finished' or 'failed'."""
        return "finished" if self.result is not None else "failed"

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        result: JsonValue = None if self.result is None else asdict(self.result)
        return {
            "run": self.run,
            "state": self.state,
            "values": dict(self.values),
            "value": self.value,
            "reason": self.reason,
            "result": result,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """A sweep whose trials have all ended.

    Attributes:
        name: Its name.
        adapter: Name of the adapter that its trials trained.
        folder: Where its record lies.
        metric: What the best is chosen by.
        trials: The trials, the best first, those that failed last.
        trained: Trials that this call trained; the others had been finished before.
        seconds: Wall time of this call.
        published: Reference of the version that the best one was published as; None: it was not.
        withheld: Why its gate did not let it be published, in one sentence.
    """

    name: str
    adapter: str
    folder: str
    metric: str
    trials: tuple[TrialResult, ...]
    trained: int
    seconds: float
    published: str | None = None
    withheld: str | None = None

    @property
    def best(self) -> TrialResult | None:
        """The trial whose metric is best; None where none has one."""
        return next((trial for trial in self.trials if trial.value is not None), None)

    @property
    def error(self) -> GraftworkError | None:
        """What a caller is to be told after the results: no trial is usable, the gate, or some trials failed."""
        failed = [trial for trial in self.trials if trial.result is None]
        if self.best is None:
            why = f"{len(failed)} of {len(self.trials)} failed, and {self.metric} is a number in none of the others"
            return GraftworkError(f"No trial of the sweep {self.name} can be chosen: {why}.")
        if self.withheld is not None:
            return GateError(self.withheld)
        if failed:
            return PartialError(
                f"{len(failed)} of {len(self.trials)} trials of the sweep {self.name} failed and are left out; the "
                "others are compared."
            )
        return None

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "sweep": self.name,
            "adapter": self.published,
            "metric": self.metric,
            "best": None if self.best is None else self.best.run,
            "trained": self.trained,
            "seconds": round(self.seconds, 1),
            "folder": self.folder,
            "withheld": self.withheld,
            "trials": [trial.to_json() for trial in self.trials],
        }


def trial_result(trial: Trial, *, result: RunResult | None, reason: str | None, metric: str) -> TrialResult:
    """Put a trial and what its run came to together."""
    value = None
    if result is not None:
        value = result.final_loss if metric == FINAL_LOSS else result.scores.get(metric)
    return TrialResult(
        run=trial.run,
        values=trial.values,
        value=value if value is not None and math.isfinite(value) else None,
        reason=None if result is not None else reason or "it ended without a word",
        result=result,
    )


def ranked(trials: Sequence[TrialResult], *, metric: str) -> tuple[TrialResult, ...]:
    """Order trials: the best first, then those without the metric, then those that failed; equal ones as they are."""
    sign = 1 if lower_is_better(metric) else -1

    def place(trial: TrialResult) -> tuple[bool, bool, float]:
        return trial.result is None, trial.value is None, 0.0 if trial.value is None else sign * trial.value

    return tuple(sorted(trials, key=place))


def table(sweep: SweepResult) -> list[str]:
    """Write the trials as aligned lines below a header, with the fields that vary; the best one has a star."""
    fields = _varying([trial.values for trial in sweep.trials])
    measured = [] if sweep.metric == FINAL_LOSS else [sweep.metric]
    header = ["best", *fields, *measured, "loss", "steps", "seconds", "run"]
    rows = [header]
    for trial in sweep.trials:
        shown = [_shown(trial.value)] if measured else []
        star = "*" if sweep.best is not None and trial.run == sweep.best.run else ""
        rows.append([star, *(shown_value(trial.values[field]) for field in fields), *shown, *_facts(trial), trial.run])
    widths = [max(len(row[place]) for row in rows) for place in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _varying(values: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    """Fields that are not the same in all trials; all where there is one trial."""
    return [field for field in values[0] if len(values) == 1 or any(each[field] != values[0][field] for each in values)]


def _facts(trial: TrialResult) -> tuple[str, str, str]:
    result = trial.result
    if result is None:
        return "failed", "-", "-"
    loss = f"{_shown(result.first_loss)} -> {_shown(result.final_loss)}"
    early = " (early)" if result.stopped_early else ""
    return loss, f"{result.steps} of {result.planned_steps}{early}", f"{result.seconds:.0f}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.3f}"
