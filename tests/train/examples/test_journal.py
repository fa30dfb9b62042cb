from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError
from train.examples.journal import Reply, digest, open_journal


def reply(chunk: str = "c0", **changes: object) -> Reply:
    fields: dict[str, object] = {
        "stage": "answer",
        "chunk": chunk,
        "question": 1,
        "request": "r",
        "text": "Zwölf\nMeter.",
        "cut": False,
        "prompt_tokens": 3,
        "completion_tokens": None,
    }
    return Reply.model_validate({**fields, **changes})


def test_what_was_kept_is_found_again_by_all_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.work"
    with open_journal(path) as journal:
        journal.keep(reply())
    with open_journal(path) as journal:
        assert journal.find(reply().key) == reply()
        for change in ({"stage": "closed_book"}, {"chunk": "c1"}, {"question": 2}, {"request": "s"}):
            assert journal.find(reply(**change).key) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [1, 20, 60])
def test_a_line_that_was_cut_short_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "rows.jsonl.work"
    with open_journal(path) as journal:
        journal.keep(reply("c0"))
        whole = path.read_bytes()
        journal.keep(reply("c1"))
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    with open_journal(path) as journal:
        assert len(journal) == 1
        journal.keep(reply("c2"))
    with open_journal(path) as journal:
        assert [journal.find(reply(name).key) is not None for name in ("c0", "c1", "c2")] == [True, False, True]


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.work"
    with open_journal(path), pytest.raises(ConflictError, match="Another run"), open_journal(path):
        pass
    with open_journal(path):
        pass


def test_another_file_is_no_journal_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.work"
    path.write_text('{"messages": []}\nrest')
    with pytest.raises(InputError, match=r"work:1 is no line of a journal"), open_journal(path):
        pass
    assert path.read_text() == '{"messages": []}\nrest'


def test_a_digest_is_of_content_not_of_order() -> None:
    assert digest({"a": 1, "b": ["x"]}) == digest({"b": ["x"], "a": 1}) != digest({"a": 1, "b": ["y"]})
