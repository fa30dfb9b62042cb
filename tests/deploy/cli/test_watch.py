"""The loop of `index --watch`; the whole command is run in test_index_watch.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pymilvus.exceptions import MilvusException

from deploy.cli.watch import index_on_change, summary
from indexer.errors import InputError, UnavailableError
from indexer.run.report import ChunkCounts, DocumentCounts, IndexReport
from indexer.sources.changes import Changes


class StoppedError(Exception):
    """Ends the loop from inside, as Ctrl-C does from outside."""


def report(new: int) -> IndexReport:
    return IndexReport(
        documents=DocumentCounts(seen=new, new=new, changed=0, unchanged=0, deleted=0, failed=0),
        chunks=ChunkCounts(written=2 * new, deleted=0, embedded=2 * new),
        seconds={"total": 1.25},
        collection="c",
        generation=1,
        embedder="e@1",
        failures=(),
        vanished=(),
        skipped={},
    )


def runs(*steps: IndexReport | Exception) -> Callable[[], IndexReport]:
    left = list(steps)

    def run() -> IndexReport:
        if not left:
            raise StoppedError
        step = left.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return run


class Told(Changes):
    """Notes how long it was waited for, and has a change at once."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout_s: float | None = None) -> bool:
        self.waits.append(timeout_s)
        self.tell()
        return super().wait(timeout_s)


def test_every_change_is_indexed_and_told() -> None:
    told: list[int] = []
    changes = Told()
    with pytest.raises(StoppedError):
        index_on_change(changes, run=runs(report(3), report(0), report(1)), tell=lambda r: told.append(r.documents.new))
    assert told == [3, 0, 1]
    assert changes.waits == [None, None, None]


def test_the_first_error_ends_it() -> None:
    with pytest.raises(InputError, match="bad folder"):
        index_on_change(Told(), run=runs(InputError("bad folder")), tell=lambda _: None)


def test_later_errors_are_told_and_tried_again_also_without_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    changes = Told()
    away = UnavailableError("Milvus is away.")
    with pytest.raises(StoppedError):
        index_on_change(changes, run=runs(report(1), away, report(1)), tell=lambda _: None, retry_s=7.0)
    assert changes.waits == [None, 7.0, None]
    assert "Milvus is away. Tried again in 7 s" in capsys.readouterr().err


def test_a_run_is_one_line() -> None:
    assert summary(report(2)) == (
        "c generation 1: 2 new, 0 changed, 0 deleted, 0 unchanged, 0 failed; 4 chunks in 1.2 s"
    )


def test_errors_of_the_system_and_of_milvus_are_told_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    full, refused = OSError(28, "No space left on device", "/disk"), MilvusException(code=1, message="quota\nexceeded")
    changes = Told()
    with pytest.raises(StoppedError):
        index_on_change(changes, run=runs(report(1), full, refused, report(1)), tell=lambda _: None, retry_s=7.0)
    assert changes.waits == [None, 7.0, 7.0, None]
    said = capsys.readouterr().err
    assert "/disk: No space left on device" in said
    assert "Milvus refuses what is asked of it (no action told: quota, code 1)" in said


def test_output_that_nobody_takes_any_more_ends_it() -> None:
    told: list[IndexReport] = []

    def tell(report: IndexReport) -> None:
        if told:
            raise BrokenPipeError
        told.append(report)

    with pytest.raises(BrokenPipeError):
        index_on_change(Told(), run=runs(report(1), report(1)), tell=tell)


def test_an_interrupt_that_went_unnoticed_ends_it_after_the_run() -> None:
    told: list[IndexReport] = []

    def check() -> None:
        if told:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_on_change(Told(), run=runs(report(1), report(1)), tell=told.append, check=check)
    assert len(told) == 1
