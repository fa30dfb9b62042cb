"""`graftwork index --watch` as a user runs it: files appear, change and go; Ctrl-C ends it and leaves nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from tests.home import Home, make_home, press_ctrl_c

pytestmark = pytest.mark.slow
RUN_S = 240.0


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path) -> Iterator[Home]:
    made = make_home(tmp_path, base_model=tiny_base)
    yield made
    made.clear()


def test_changes_are_indexed_until_it_is_interrupted(home: Home, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Lamps\n\nThe red lamp burns colza oil.")
    command = home.start("index", str(docs), "--collection", "lamps", "--sync", "--watch", "--json")
    reports = lines_of(command.stdout)
    errors = lines_of(command.stderr)

    def documents() -> dict[str, int]:
        """What the next run did that had anything to do: a change may be told twice where the machine is slow."""
        while True:
            counts: dict[str, int] = json.loads(reports.get(timeout=RUN_S))["documents"]
            if done := {name: count for name, count in counts.items() if count and name not in ("seen", "unchanged")}:
                return done | {"unchanged": counts["unchanged"]}

    assert documents() == {"new": 1, "unchanged": 0}
    (docs / "b.md").write_text("# Ferry\n\nIt crosses at six.")
    assert documents() == {"new": 1, "unchanged": 1}
    (docs / "b.md").write_text("# Ferry\n\nIt crosses at seven.")
    assert documents() == {"changed": 1, "unchanged": 1}
    (docs / "a.md").unlink()
    assert documents() == {"deleted": 1, "unchanged": 1}
    (docs / "b.md").unlink()
    while "Tried again" not in (told := errors.get(timeout=RUN_S)):
        pass
    assert "nothing to index" in told or "no files" in told
    (docs / "c.md").write_text("# Tolls\n\nA cart pays two marks.")
    assert documents() == {"new": 1, "deleted": 1, "unchanged": 0}
    press_ctrl_c(command)
    assert command.wait(60) == 130
    assert home.transient is None


def lines_of(stream: Iterator[str] | None) -> Queue[str]:
    """What a process prints, as it comes."""
    assert stream is not None
    lines: Queue[str] = Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in stream], daemon=True).start()
    return lines
