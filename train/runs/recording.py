"""Keeps the record of a run while it lasts: its state, its reports, and at the end its curve and its page."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from indexer.errors import GraftworkError, NotFoundError, writing
from train.prepare import PreparedRun
from train.registry.files import replace_file
from train.runs.curve import draw_curve
from train.runs.driver import this_driver
from train.runs.events import Events
from train.runs.page import render_page
from train.runs.progress_file import append_progress, open_progress
from train.runs.record import (
    CURVE_FILE,
    PAGE_FILE,
    RunRecord,
    RunResult,
    WrittenState,
    read_record,
    write_record,
)
from train.runs.stored import read_run
from train.types import ProgressCallback, TrainProgress, TrainRequest, TrainResult

logger = logging.getLogger(__name__)


@contextmanager
def recorded_run(
    prepared: PreparedRun,
    *,
    request: TrainRequest,
    run_name: str,
    shaped_by: Sequence[str],
    progress: ProgressCallback | None,
) -> Iterator[Recording]:
    """Keep the record of a run in its folder for the length of the block, which ends with the run or its failure.

    What cannot be written later than at the start, on a full disk for instance, is logged and ends no run.

    Args:
        prepared: The run.
        request: How it was asked for.
        run_name: Its name; one that has a record goes on with it.
        shaped_by: Names of the settings that shape its result.
        progress: Hears every report, too.

    Raises:
        InputError: The run has a record already, which cannot be read.
        UnavailableError: The record cannot be written.
    """
    folder = prepared.plan.settings.storage_path / run_name
    record = _begun(prepared, request=request, run_name=run_name, shaped_by=shaped_by, before=_before(folder))
    with writing("The record of the run", folder, otherwise="choose another train.storage_path"):
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder, record)
        file = open_progress(folder)
    recording = Recording(folder, record, file=file, listener=progress)
    try:
        yield recording
    except Exception as error:
        reason = str(error) if isinstance(error, GraftworkError) else f"{type(error).__name__}: {error}"
        recording.end("failed", reason=" ".join(reason.split()))
        raise
    except BaseException:
        recording.end("interrupted")
        raise
    finally:
        file.close()


class Recording:
    """The record of a run that lasts."""

    def __init__(
        self, folder: Path, record: RunRecord, *, file: FileIO, listener: ProgressCallback | None = None
    ) -> None:
        """Take the record that lies in the folder, the open file of reports, and who hears them, too."""
        self._folder = folder
        self._record = record
        self._file: FileIO | None = file
        self._listener = listener
        self._events: Events | None = Events(folder)

    def hear(self, progress: TrainProgress) -> None:
        """Keep a report, and pass it on."""
        if self._file is not None:
            try:
                append_progress(self._file, progress)
            except OSError as error:
                self._file = None
                logger.warning("reports of the run are no longer kept in %s (%s); it goes on", self._folder, error)
        if self._events is not None:
            try:
                self._events.add(progress)
            except OSError as error:
                self._events = None
                logger.warning("no more events for TensorBoard are kept in %s (%s)", self._folder, error)
        if self._listener is not None:
            self._listener(progress)

    def finish(self, result: TrainResult) -> TrainResult:
        """Note what came of the run, draw it, and return it."""
        scores = result.manifest.scores or {}
        self.end(
            "finished",
            result=RunResult(
                adapter=result.manifest.ref,
                steps=result.steps,
                planned_steps=result.planned_steps,
                seconds=round(result.seconds, 1),
                train_seconds=round(result.train_seconds, 1),
                first_loss=result.first_loss,
                final_loss=result.final_loss,
                eval_loss=result.eval_loss,
                tokens=result.tokens,
                tokens_per_s=round(result.tokens_per_s, 1),
                stopped_early=result.stopped_early,
                scores={name: score for name, score in scores.items() if math.isfinite(score)},
            ),
        )
        return result

    def end(self, state: WrittenState, *, reason: str | None = None, result: RunResult | None = None) -> None:
        """Note how the run ended, and draw it."""
        self._record = dataclasses.replace(self._record, state=state, reason=reason, result=result)
        try:
            if self._events is not None:
                self._events.close()
            write_record(self._folder, self._record)
            run = read_run(self._folder)
            eval_loss = None if result is None else result.eval_loss
            replace_file(self._folder / CURVE_FILE, draw_curve(run.progress, eval_loss=eval_loss, form="png"))
            replace_file(self._folder / PAGE_FILE, render_page(run).encode())
        except (OSError, GraftworkError) as error:
            logger.warning("the end of the run is not kept whole in %s (%s)", self._folder, error)


def note_published(folder: Path, *, adapter: str) -> None:
    """Note that the adapter of a finished run was published, as which version; logged where that cannot be."""
    try:
        record = read_record(folder)
        if record.result is not None:
            published = dataclasses.replace(record.result, adapter=adapter)
            write_record(folder, dataclasses.replace(record, result=published))
            replace_file(folder / PAGE_FILE, render_page(read_run(folder)).encode())
    except (OSError, GraftworkError) as error:
        logger.warning("that %s was published is not noted in %s (%s)", adapter, folder, error)


def _before(folder: Path) -> RunRecord | None:
    try:
        return read_record(folder)
    except NotFoundError:
        return None


def _begun(
    prepared: PreparedRun,
    *,
    request: TrainRequest,
    run_name: str,
    shaped_by: Sequence[str],
    before: RunRecord | None,
) -> RunRecord:
    now, settings = datetime.now(UTC), prepared.plan.settings
    return RunRecord(
        name=run_name,
        adapter=request.name,
        base=prepared.base.name,
        base_fingerprint=prepared.base.fingerprint,
        datasets=request.datasets,
        dataset_sha256=prepared.dataset.sha256,
        rows=prepared.dataset.rows,
        eval_datasets=request.eval_datasets,
        chat_template=prepared.template_sha256,
        settings={
            **settings.model_dump(mode="json", include={*shaped_by, "workers"}),
            "dtype": prepared.plan.dtype,
            "time_budget_s": request.time_budget_s,
        },
        started=now if before is None else before.started,
        resumed=None if before is None else now,
        driver=this_driver(),
        state="running",
        sweep=request.sweep,
    )
