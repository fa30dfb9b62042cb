from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from indexer.evaluation.questions import DEV_SHARE, Judged, Section, judge, read_questions, split_of
from indexer.types import ChunkPlace

PLACES = [
    ChunkPlace("c1", "docs/a.md", ("Ropes",)),
    ChunkPlace("c2", "docs/a.md", ("Ropes", "The long  hawser")),
    ChunkPlace("c3", "docs/a.md", ("Ropes", "The long  hawser")),
    ChunkPlace("c4", "docs/b.md", ("Ropes",)),
]


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def judged(path: Path, gold: Sequence[object], **more: str) -> Judged:
    write(path, {"question": "How long?", "gold": gold, **more})
    [found] = judge(read_questions(path), PLACES, path=path, collection="handbook")
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "questions.jsonl"


def test_lines_are_read_with_their_numbers(path: Path) -> None:
    section = {"document": "docs/a.md", "heading": "Ropes"}
    write(path, {"question": "One?", "gold": ["c1"]}, "", {"question": "Two?", "gold": [section], "split": "dev"})
    [(first, one), (third, two)] = read_questions(path)
    assert (first, one.gold, one.split) == (1, ("c1",), None)
    assert (third, two.gold, two.split) == (3, (Section(document="docs/a.md", heading="Ropes"),), "dev")


def test_every_bad_line_is_counted_and_the_first_are_named(path: Path) -> None:
    good = {"question": "One?", "gold": ["c1"]}
    bad: list[object] = [
        {"gold": ["c1"]},
        "{no json",
        {"question": " ", "gold": ["c1"]},
        {"question": "Q", "gold": []},
        {**good, "split": "train"},
        {**good, "answer": "x"},
    ]
    write(path, good, *bad)
    with pytest.raises(InputError, match=r"line 2: question: Field required; line 3: .*; line 4: .*; and 3 more lines"):
        read_questions(path)
    for line in bad[3:]:
        write(path, line)
        with pytest.raises(InputError, match="line 1"):
            read_questions(path)


def test_no_file_no_text_and_no_line(path: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"questions\.jsonl does not exist"):
        read_questions(path)
    with pytest.raises(InputError, match="is empty"):
        read_questions(write(path, "", "  "))
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="not UTF-8"):
        read_questions(path)


def test_gold_is_a_chunk_a_section_or_a_document(path: Path) -> None:
    found = judged(path, ["c1", {"document": "docs/a.md", "heading": "The long hawser"}], split="test")
    assert found == Judged("How long?", "test", "chunk", frozenset({"c1", "c2", "c3"}))
    assert judged(path, [{"document": "docs/a.md", "heading": "Ropes"}]).relevant == {"c1", "c2", "c3"}
    whole = judged(path, ["docs/a.md", "docs/b.md"])
    assert (whole.unit, whole.relevant) == ("document", {"docs/a.md", "docs/b.md"})


@pytest.mark.parametrize(
    ("gold", "words"),
    [
        (["c1", "c9"], "line 1: 'c9' is not in collection 'handbook'"),
        ([{"document": "docs/b.md", "heading": "Hawser"}], "heading 'Hawser' of document 'docs/b.md'"),
        (["docs/a.md", "c4"], "line 1: gold names whole documents and parts"),
    ],
)
def test_gold_that_is_not_there_or_of_two_kinds_is_refused(path: Path, gold: list[object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        judged(path, gold)


def test_a_question_without_a_split_always_gets_the_same_and_a_third_are_dev() -> None:
    texts = [f"question {number}" for number in range(3000)]
    dev = [split_of(text) for text in texts].count("dev")
    assert dev == pytest.approx(3000 * DEV_SHARE, abs=100)
    assert [split_of(text) for text in texts[:4]] == [split_of(text) for text in texts[:4]]
