"""progress.jsonl: how far a run has come, one report a line, over all of its starts."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from indexer.errors import InputError, system_cause
from train.runs.record import PROGRESS_FILE
from train.types import TrainProgress

_ADAPTER: TypeAdapter[TrainProgress] = TypeAdapter(TrainProgress)


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    step: int = Field(ge=0)
    total_steps: int = Field(ge=0)
    loss: float | None
    tokens_per_s: float
    elapsed_s: float
    eval_loss: float | None = None


def open_progress(folder: Path) -> FileIO:
    """Open the file to go on with it, behind its last whole line; OSError where that cannot be."""
    file = (folder / PROGRESS_FILE).open("a+b", buffering=0)
    try:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
    except OSError:
        file.close()
        raise
    return file


def append_progress(file: FileIO, progress: TrainProgress) -> None:
    """Write one report through; a loss that is no number is written as null. OSError where that cannot be."""
    line = _ADAPTER.dump_json(progress) + b"\n"
    if file.write(line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.name))


def read_progress(folder: Path) -> tuple[TrainProgress, ...]:
    """Read what holds of a run's reports, by step; nothing where there is no file.

    A last line without an end, which a killed driver leaves, is left out.

    Raises:
        InputError: The file cannot be read, or another line of it is no report.
    """
    path = folder / PROGRESS_FILE
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"The run's progress {path} cannot be read: {system_cause(error)}.") from error
    return latest(_parse(line, where=f"{path}:{number}") for number, line in enumerate(lines, start=1))


def latest(reports: Iterable[TrainProgress]) -> tuple[TrainProgress, ...]:
    """Leave out what was trained again: a report supersedes the earlier ones of its step and of later steps."""
    kept: list[TrainProgress] = []
    for report in reports:
        while kept and kept[-1].step >= report.step:
            kept.pop()
        kept.append(report)
    return tuple(kept)


def _parse(line: bytes, *, where: str) -> TrainProgress:
    try:
        found = _Line.model_validate_json(line)
    except ValidationError as error:
        raise InputError(f"{where} is no report of a training run; mend the line, or take it out.") from error
    return TrainProgress(
        step=found.step,
        total_steps=found.total_steps,
        loss=math.nan if found.loss is None else found.loss,
        tokens_per_s=found.tokens_per_s,
        elapsed_s=found.elapsed_s,
        eval_loss=found.eval_loss,
    )
