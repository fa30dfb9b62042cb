"""`graftwork index --watch` as a user runs it: files appear, change and go; Ctrl-C ends it and leaves nothing.

One command runs from the first test to the last; each goes on where the one before it ended.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

import pytest

from tests.home import Home, make_home, press_ctrl_c

pytestmark = [pytest.mark.slow, pytest.mark.long]
RUN_S = 240.0
END_S = 180.0


@dataclass(frozen=True)
class Watch:
    """The running command, what it prints, and the folder it watches."""

    home: Home
    docs: Path
    command: subprocess.Popen[str]
    reports: Queue[str]
    errors: Queue[str]

    def documents(self) -> dict[str, int]:
        """What the next run did that had anything to do: a change may be told twice where the machine is slow."""
        while True:
            counts: dict[str, int] = json.loads(self._next(self.reports))["documents"]
            if done := {name: count for name, count in counts.items() if count and name not in ("seen", "unchanged")}:
                return done | {"unchanged": counts["unchanged"]}

    def error(self, of: str) -> str:
        """The next line on standard error that has these words."""
        while of not in (line := self._next(self.errors)):
            pass
        return line

    def rest(self) -> str:
        """What is printed on standard error until it ends."""
        time.sleep(1)
        return "".join(list(self.errors.queue))

    def _next(self, lines: Queue[str]) -> str:
        try:
            return lines.get(timeout=RUN_S)
        except Empty:
            raise AssertionError(f"nothing came; exit code {self.command.poll()}: {self.rest()}") from None


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Watch]:
    folder = tmp_path_factory.mktemp("watch")
    home = make_home(folder, base_model=tiny_base)
    docs = folder / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Lamps\n\nThe red lamp burns colza oil.")
    options = ("--collection", "lamps", "--sync", "--watch", "--json")
    command = home.start("index", str(docs), *options, variables={"PYTHONFAULTHANDLER": "1"})
    yield Watch(home, docs, command, lines_of(command.stdout), lines_of(command.stderr))
    home.clear()


def test_what_is_there_is_indexed_first(watch: Watch) -> None:
    assert watch.documents() == {"new": 1, "unchanged": 0}


def test_a_new_file_is_indexed(watch: Watch) -> None:
    (watch.docs / "b.md").write_text("# Ferry\n\nIt crosses at six.")
    assert watch.documents() == {"new": 1, "unchanged": 1}


def test_a_changed_file_is_indexed_again(watch: Watch) -> None:
    (watch.docs / "b.md").write_text("# Ferry\n\nIt crosses at seven.")
    assert watch.documents() == {"changed": 1, "unchanged": 1}


def test_a_file_that_went_is_deleted(watch: Watch) -> None:
    (watch.docs / "a.md").unlink()
    assert watch.documents() == {"deleted": 1, "unchanged": 1}


def test_an_empty_folder_is_told_and_the_command_goes_on(watch: Watch) -> None:
    (watch.docs / "b.md").unlink()
    told = watch.error(of="Tried again")
    assert "nothing to index" in told or "no files" in told


def test_the_next_file_is_indexed_after_an_error(watch: Watch) -> None:
    (watch.docs / "c.md").write_text("# Tolls\n\nA cart pays two marks.")
    assert watch.documents() == {"new": 1, "deleted": 1, "unchanged": 0}


def test_ctrl_c_ends_it(watch: Watch) -> None:
    press_ctrl_c(watch.command)
    try:
        assert watch.command.wait(END_S) == 130
    except subprocess.TimeoutExpired:
        watch.command.send_signal(signal.SIGABRT)
        raise AssertionError(f"it goes on: {watch.error(of='most recent call first')}{watch.rest()}") from None


def test_nothing_of_it_is_left(watch: Watch) -> None:
    assert watch.home.transient is None


def lines_of(stream: Iterator[str] | None) -> Queue[str]:
    """What a process prints, as it comes."""
    assert stream is not None
    lines: Queue[str] = Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in stream], daemon=True).start()
    return lines
