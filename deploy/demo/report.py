"""The demo's report: one document with everything, for `report.json` and `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue, TypeAdapter

from deploy.demo.ask import Answer
from deploy.demo.budget import StageRecord
from deploy.demo.figures import Figures
from deploy.demo.questions import Question

METRICS: Final = {"must_include": "Required words", "token_f1": "Word overlap F1"}


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """How the adapter came to be.

    Attributes:
        adapter: Its reference, such as 'demo@1'.
        rows: Training rows.
        answers: Answers in them by kind.
        steps: Optimiser steps taken.
        planned_steps: Steps that the recipe asked for.
        epochs: Passes over the rows that were made.
        seconds: Spent in steps.
        tokens_per_s: Tokens read per second over both workers.
        first_loss: Loss of the first step.
        final_loss: Mean loss of the last steps.
        stopped_early: Whether the time budget ended it.
    """

    adapter: str
    rows: int
    answers: dict[str, int]
    steps: int
    planned_steps: int
    epochs: float
    seconds: float
    tokens_per_s: float
    first_loss: float | None
    final_loss: float | None
    stopped_early: bool


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything that the demo did and found.

    Attributes:
        started_at: ISO time, UTC.
        quick: Whether budgets were the short ones.
        home: The demo's home folder.
        cpus: Cores of the machine.
        versions: Package versions by name.
        stages: Times and budgets.
        index: The indexer's report.
        training: Facts of the training.
        questions: The questions that were asked.
        answers: All answers.
        figures: Scores and comparisons.
        statement: What one must know to read the figures.
        kept: Whether the instance was left up.
        url: Its address while it was up.
    """

    started_at: str
    quick: bool
    home: str
    cpus: int
    versions: dict[str, str]
    stages: tuple[StageRecord, ...]
    index: dict[str, object]
    training: TrainingFacts
    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]
    figures: Figures
    statement: tuple[str, ...]
    kept: bool
    url: str

    def to_json(self) -> dict[str, JsonValue]:
        """The report as JSON values."""
        document: dict[str, JsonValue] = TypeAdapter(DemoReport).dump_python(self, mode="json")
        return document

    def write(self, path: Path) -> None:
        """Write the report, indented, UTF-8."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(TypeAdapter(DemoReport).dump_json(self, indent=2) + b"\n")


def statement(training: TrainingFacts, figures: Figures, *, budget_s: float) -> tuple[str, ...]:
    """What stands beside the table: what the adapter can and cannot have learnt, and what the figures rest on."""
    learnt = (
        "The adapter was trained on questions about other documents than those asked about here. It can have learnt "
        "the form of an answer and the use of a context, not the facts: without retrieval it can only guess them."
    )
    cited = training.answers.get("golden", 0)
    with_context = sum(training.answers.values()) - training.answers.get("closed", 0)
    rows = (
        f"Half of its {training.rows} training rows show a context: {cited} of {with_context} answers in them cite it, "
        "the others refuse because it does not answer. The other half has none."
    )
    losses = ""
    if training.first_loss is not None and training.final_loss is not None:
        losses = f"; loss {training.first_loss:.2f} at first, {training.final_loss:.2f} at last"
    course = (
        f"Training {'stopped early, over its budget of' if training.stopped_early else 'ended within its budget of'} "
        f"{budget_s:.0f} s: {training.steps} of {training.planned_steps} steps, {training.epochs:.1f} epochs{losses}."
    )
    sample = (
        f"n = {figures.asked} questions ({figures.answerable} answerable, {figures.unanswerable} not), the same for "
        "all four. Brackets are 95% bootstrap intervals over questions."
    )
    width = "An interval without width says that all answers scored the same, not that the figure is certain."
    return learnt, rows, course, f"{sample} {width}", *(_verdict(figures, metric) for metric in METRICS)


def _verdict(figures: Figures, metric: str) -> str:
    sure = [c for c in figures.comparisons if c.metric == metric and c.difference.excludes_zero]
    if not sure:
        return f"{METRICS[metric]}: no two specialists differ by more than chance would explain at this n."
    parts = [
        f"{c.second} against {c.first} {c.difference.value:+.2f} [{c.difference.low:+.2f}, {c.difference.high:+.2f}]"
        for c in sure
    ]
    return f"{METRICS[metric]}, paired differences whose interval excludes zero: {'; '.join(parts)}."
