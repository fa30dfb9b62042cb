"""The runs that lie in a folder of runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from indexer.errors import GraftworkError, InputError, NotFoundError, system_cause
from train.registry.names import check_name
from train.runs.driver import is_gone
from train.runs.progress_file import read_progress
from train.runs.record import CURVE_FILE, PAGE_FILE, SWEEP_FILE, RunRecord, WrittenState, read_record
from train.types import TrainProgress

ShownState = Literal[WrittenState, "unknown"]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is read.

    Attributes:
        folder: Where it lies.
        record: What it is made of.
        progress: Its reports, by step.
        state: How it stands now: 'interrupted' if its driver is gone without a word, 'unknown' if it is said to run on
            another machine.
    """

    folder: Path
    record: RunRecord
    progress: tuple[TrainProgress, ...]
    state: ShownState

    @property
    def name(self) -> str:
        """The name by which it is asked for."""
        return self.folder.name

    @property
    def steps(self) -> int:
        """Steps taken, as far as is known."""
        if self.record.result is not None:
            return self.record.result.steps
        return self.progress[-1].step if self.progress else 0

    @property
    def planned_steps(self) -> int | None:
        """Steps planned; None before the first report."""
        if self.record.result is not None:
            return self.record.result.planned_steps
        return self.progress[-1].total_steps if self.progress else None

    @property
    def first_loss(self) -> float | None:
        """Loss of the first step."""
        if self.record.result is not None:
            return self.record.result.first_loss
        return finite(self.progress[0].loss) if self.progress else None

    @property
    def last_loss(self) -> float | None:
        """Loss at the end of a finished run, or of the last report."""
        if self.record.result is not None:
            return self.record.result.final_loss
        return finite(self.progress[-1].loss) if self.progress else None

    @property
    def drawings(self) -> tuple[Path, ...]:
        """Its page and its curve, where they were written."""
        return tuple(path for name in (PAGE_FILE, CURVE_FILE) if (path := self.folder / name).is_file())

    def summary(self) -> dict[str, JsonValue]:
        """Return plain JSON values without the reports."""
        return {
            **self.record.to_json(),
            "name": self.name,
            "state": self.state,
            "folder": str(self.folder),
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "first_loss": self.first_loss,
            "last_loss": self.last_loss,
            "drawings": [str(path) for path in self.drawings],
        }

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        reports: list[JsonValue] = [{**asdict(each), "loss": finite(each.loss)} for each in self.progress]
        return {**self.summary(), "progress": reports}


@dataclass(frozen=True, slots=True)
class UnreadableRun:
    """A folder among the runs that is none, or a damaged one: its name, and one sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class FoundRuns:
    """What lies in a folder of runs, the latest first; and what cannot be read there."""

    runs: tuple[Run, ...]
    unreadable: tuple[UnreadableRun, ...]


def find_runs(storage: Path) -> FoundRuns:
    """Read every run of a folder, those of sweeps too; nothing where there is no folder.

    Raises:
        InputError: The folder cannot be read.
    """
    try:
        visible = (path for path in storage.iterdir() if path.is_dir() and not path.name.startswith("."))
        folders = sorted(path for path in visible if not (path / SWEEP_FILE).is_file())
    except FileNotFoundError:
        return FoundRuns((), ())
    except OSError as error:
        raise InputError(f"The folder of runs {storage} cannot be read: {system_cause(error)}.") from error
    runs: list[Run] = []
    unreadable: list[UnreadableRun] = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except GraftworkError as error:
            unreadable.append(UnreadableRun(folder.name, str(error)))
    runs.sort(key=lambda run: run.record.started, reverse=True)
    return FoundRuns(tuple(runs), tuple(unreadable))


def open_run(storage: Path, name: str) -> Run:
    """Read one run.

    Raises:
        InputError: No run can have that name, or the run's files are damaged.
        NotFoundError: There is no such run.
    """
    folder = storage / check_name(name, what="training run")
    if not folder.is_dir():
        raise NotFoundError(f"There is no training run {name!r} in {storage}; `graftwork runs list` names them.")
    return read_run(folder)


def read_run(folder: Path) -> Run:
    """Read the run of a folder.

    Raises:
        NotFoundError: The folder holds no record.
        InputError: Its files are damaged.
    """
    record = read_record(folder)
    return Run(folder, record, read_progress(folder), state_now(record))


def state_now(record: RunRecord) -> ShownState:
    """Return how a run stands: what its record says, unless that is 'running' and its driver is gone or elsewhere."""
    if record.state != "running":
        return record.state
    gone = is_gone(record.driver)
    if gone is None:
        return "unknown"
    return "interrupted" if gone else "running"


def finite(value: float) -> float | None:
    """Return a number, or None for one that is none, as the loss of a run that went astray."""
    return value if math.isfinite(value) else None
