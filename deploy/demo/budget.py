"""The stages' time budgets, and a log that shows and keeps how long each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@dataclass(frozen=True, slots=True)
class Budgets:
    """Seconds per stage on two cores, and how many questions are asked at most; together under 15 minutes.

    Training ends at its budget with what it has learnt, asking with the questions it has asked; the others are only
    compared with theirs.
    """

    index_s: float = 60
    rows_s: float = 45
    train_s: float = 300
    start_s: float = 150
    ask_s: float = 300
    stop_s: float = 30
    questions: int = 60


FULL = Budgets()
# Of the quick training about 40 s go into starting two workers and publishing.
QUICK = Budgets(train_s=120, ask_s=150, questions=12)


@dataclass(frozen=True, slots=True)
class StageRecord:
    """How a stage went: its name, budget and time in seconds, and one line about its result."""

    name: str
    budget_s: float
    seconds: float
    note: str

    @property
    def over_budget(self) -> bool:
        """Whether it took longer than planned."""
        return self.seconds > self.budget_s


class Stage:
    """The stage that is under way; `say` shows what it does now, `note` keeps what came out."""

    def __init__(self, progress: Progress, *, name: str) -> None:
        """Take the display."""
        self._progress = progress
        self._name = name
        self._task = progress.tasks[-1].id
        self.note = ""

    def say(self, detail: str) -> None:
        """Show a line of what happens now."""
        self._progress.update(self._task, description=f"{self._name}: {detail}" if detail else self._name)


class StageLog:
    """Runs stages one after the other, shows them on a console and keeps their times."""

    def __init__(self, console: Console, *, total: int) -> None:
        """Take the console, which is on stderr, and the number of stages to come."""
        self._console = console
        self._total = total
        self.records: list[StageRecord] = []

    @contextmanager
    def stage(self, name: str, *, budget_s: float) -> Iterator[Stage]:
        """Times a stage; its record is kept when it succeeds."""
        title = f"[{len(self.records) + 1}/{self._total}] {name}"
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn(f"of {clock(budget_s)}", markup=False),
        )
        if not self._console.is_terminal:
            self._print(f"{title} (budget {clock(budget_s)}) ...")
        begun = time.monotonic()
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            progress.add_task(title)
            stage = Stage(progress, name=title)
            yield stage
        record = StageRecord(name, budget_s, time.monotonic() - begun, stage.note)
        self.records.append(record)
        over = ", over budget" if record.over_budget else ""
        self._print(f"{title}: {clock(record.seconds)} of {clock(budget_s)}{over}. {record.note}".rstrip())

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as m:ss, rounded."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"
