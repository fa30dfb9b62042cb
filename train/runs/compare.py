"""What differs between runs, and what came of each: pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from indexer.errors import InputError
from train.runs.record import RunResult
from train.runs.stored import Run


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of all runs: its name, and a value for each; None where a run has none."""

    name: str
    values: tuple[JsonValue, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: Their names.
        differences: What they are made of, where that is not the same in all.
        results: What came of them.
    """

    runs: tuple[str, ...]
    differences: tuple[Row, ...]
    results: tuple[Row, ...]

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values: for each thing a value by run."""
        return {
            "runs": [*self.runs],
            "differences": {row.name: dict(zip(self.runs, row.values, strict=True)) for row in self.differences},
            "results": {row.name: dict(zip(self.runs, row.values, strict=True)) for row in self.results},
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs in the order in which they are given.

    Raises:
        InputError: Fewer than two are given, or one twice.
    """
    names = tuple(run.name for run in runs)
    if len(names) < 2 or len(set(names)) < len(names):
        raise InputError(f"{' '.join(names) or 'Nothing'} cannot be compared; name two or more runs, each once.")
    made = [_made_of(run) for run in runs]
    rows = [
        Row(name, tuple(each.get(name) for each in made)) for name in dict.fromkeys(key for of in made for key in of)
    ]
    return Comparison(
        names, tuple(row for row in rows if any(value != row.values[0] for value in row.values)), _results(runs)
    )


def _made_of(run: Run) -> dict[str, JsonValue]:
    record = run.record
    return {
        "base": record.base,
        "base_fingerprint": record.base_fingerprint,
        "datasets": [*record.datasets],
        "dataset_sha256": record.dataset_sha256,
        "rows": record.rows,
        "eval_datasets": [*record.eval_datasets],
        "chat_template": record.chat_template,
        **dict(sorted(record.settings.items())),
    }


def _results(runs: Sequence[Run]) -> tuple[Row, ...]:
    def of_result(name: str, get: Callable[[RunResult], JsonValue]) -> Row:
        results = (run.record.result for run in runs)
        return Row(name, tuple(None if result is None else get(result) for result in results))

    scores = sorted({name for run in runs if run.record.result for name in run.record.result.scores} - {"eval_loss"})
    return (
        Row("state", tuple(run.state for run in runs)),
        of_result("adapter", lambda result: result.adapter),
        Row("steps", tuple(run.steps for run in runs)),
        Row("planned_steps", tuple(run.planned_steps for run in runs)),
        Row("first_loss", tuple(run.first_loss for run in runs)),
        Row("last_loss", tuple(run.last_loss for run in runs)),
        of_result("eval_loss", lambda result: result.eval_loss),
        *(Row(name, tuple(_score(run, name) for run in runs)) for name in scores),
        of_result("tokens", lambda result: result.tokens),
        of_result("tokens_per_s", lambda result: result.tokens_per_s),
        of_result("seconds", lambda result: result.seconds),
        of_result("train_seconds", lambda result: result.train_seconds),
    )


def _score(run: Run, name: str) -> float | None:
    return None if run.record.result is None else run.record.result.scores.get(name)
