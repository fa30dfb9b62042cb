from __future__ import annotations

import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.parsers import PARSERS
from indexer.parsers.base import ParsedDocument, RawDocument
from indexer.run.stages import Recipe
from indexer.run.time_limit import TimeIsUp, time_limit
from tests.indexer.run.test_stages import prepared, recipe

__all__ = ["recipe"]


def hang() -> None:
    """As a library does that catches whatever goes wrong."""
    while True:
        try:
            re.match(r"(a+)+$", "a" * 40 + "b")
        except Exception:  # noqa: BLE001
            continue


def test_a_block_that_never_ends_does() -> None:
    before, since = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(TimeIsUp), time_limit(0.2):
        hang()
    assert time.monotonic() - since < 2
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with time_limit(0.1):
        done = sum(range(1000))
    time.sleep(0.2)
    assert done == 499500


def test_elsewhere_than_in_the_main_thread_nothing_is_limited() -> None:
    ended: list[bool] = []

    def work() -> None:
        with time_limit(0.05):
            time.sleep(0.2)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True]


def test_a_document_that_hangs_is_reported_and_the_others_are_indexed(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = PARSERS["text/plain"]
    parse = parser.parse

    def parse_some(raw: RawDocument) -> ParsedDocument:
        if b"hang" in raw.content:
            hang()
        return parse(raw)

    monkeypatch.setattr(type(parser), "parse", lambda _, raw: parse_some(raw))
    for name, text in (("a.txt", "Some words."), ("b.txt", "Please hang."), ("c.txt", "Other words.")):
        (tmp_path / name).write_text(text)
    chunks, failed = prepared(tmp_path, replace(recipe, parse_timeout_s=0.3))
    assert [chunk.text for chunk in chunks] == ["Some words.", "Other words."]
    assert {name: (each.stage, each.reason) for name, each in failed.items()} == {
        "b.txt": ("parse", "the parser took longer than 0.3 s (indexer.parse_timeout_s)")
    }


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_ray_runs_tasks_where_the_limit_holds() -> None:
    import ray

    @ray.remote
    def limited() -> str:
        try:
            with time_limit(0.3):
                hang()
        except TimeIsUp:
            return "given up"
        return "done"

    assert ray.get(limited.remote(), timeout=60) == "given up"
