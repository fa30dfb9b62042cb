from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import InputError, UnavailableError
from indexer.sources import changes as module
from indexer.sources.changes import Changes, following, watched_folders

SOON_S = 15.0


def test_a_change_below_a_folder_is_told_once_it_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with following([tmp_path]) as changes:
        assert not changes.wait(0.2)
        for number in range(5):
            (tmp_path / "deep" / f"{number}.md").write_text("words")
        assert changes.wait(SOON_S)
        (tmp_path / "deep" / "0.md").unlink()
        assert changes.wait(SOON_S)


def test_hidden_entries_do_not_count(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with following([tmp_path]) as changes:
        (tmp_path / ".git" / "index").write_text("x")
        (tmp_path / ".swp").write_text("x")
        assert not changes.wait(3.0)


def test_a_hidden_folder_that_was_given_counts(tmp_path: Path) -> None:
    folder = tmp_path / ".notes"
    folder.mkdir()
    with following([folder]) as changes:
        (folder / "a.md").write_text("words")
        assert changes.wait(SOON_S)


def test_what_changed_before_the_question_counts() -> None:
    changes = Changes()
    changes.tell()
    changes.tell()
    assert changes.wait()
    began = time.monotonic()
    assert not changes.wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_who_waits_learns_that_nobody_watches_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def watch_once(*folders: Path, **options: object) -> Iterator[set[object]]:
        yield set()
        begun.wait(SOON_S)
        raise RuntimeError("error in underlying watcher:\n  no space left")

    monkeypatch.setattr(module, "watch", watch_once)
    with following([tmp_path]) as changes:
        begun.set()
        with pytest.raises(UnavailableError, match=r"cannot be followed \(error in underlying watcher: no space left"):
            changes.wait(SOON_S)


def test_a_folder_that_cannot_be_followed_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be followed"), following([tmp_path / "absent"]):
        pass


def test_folders_and_patterns_can_be_watched(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    assert watched_folders([tmp_path / "docs", f"{tmp_path}/docs/**/*.md"]) == (tmp_path / "docs",)


@pytest.mark.parametrize("given", ["s3://bucket/docs", "{folder}/a.md", "{folder}/absent"])
def test_other_sources_are_refused_by_name(tmp_path: Path, given: str) -> None:
    (tmp_path / "a.md").write_text("words")
    name = given.format(folder=tmp_path)
    with pytest.raises(InputError, match=f"{name} cannot be watched"):
        watched_folders([name])


def test_nothing_to_watch_is_an_error() -> None:
    with pytest.raises(InputError, match="No folder to watch"):
        watched_folders([])
