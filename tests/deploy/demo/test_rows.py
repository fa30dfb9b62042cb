"""Training rows: what stands in the context decides what the answer may say."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo import recipe
from deploy.demo.questions import Question
from deploy.demo.rows import build_rows, cite_answer, golden_passages, place_golden, without_answer, write_rows
from deploy.demo.scoring import is_refusal
from indexer.passages import Passage
from serve.citations import read_markers
from serve.prompt import CONTEXT_HEADER


def passage(number, *, document="a.md", text="nothing of note", score=0.0):
    return Passage(
        chunk_id=f"c{number}",
        document_id=f"corpus/{document}",
        title=f"Title {number}",
        heading_path=(),
        uri=f"file:///{document}",
        page=None,
        ordinal=number,
        text=text,
        score=score,
    )


def question(number=1, *, sources=("gold.md",), must_include=("17 m/s",), kind="single"):
    return Question(
        id=f"q{number}",
        question="At what wind does she stop?",
        answer="She stops at 17 m/s.",
        must_include=must_include,
        sources=sources,
        kind=kind,
        split="train",
    )


def count_words(text):
    return len(text.split())


FOUND = [
    passage(1),
    passage(2),
    passage(3, document="gold.md", text="of the ropes"),
    passage(4),
    passage(5, document="gold.md", text="It stops at 17 m/s."),
    passage(6, document="copy.md", text="I hear she stops at 17 m/s nowadays"),
]


def test_the_golden_passage_is_the_one_that_holds_the_answer():
    assert [p.chunk_id for p in golden_passages(question(), FOUND)] == ["c5"]


def test_of_equal_passages_the_better_ranked_is_golden():
    twice = [passage(7, document="gold.md", text="17 m/s"), *FOUND]
    assert [p.chunk_id for p in golden_passages(question(), twice)] == ["c7"]


@pytest.mark.parametrize(
    "asked",
    [
        question(sources=("gold.md", "unfound.md")),
        question(must_include=("17 m/s", "19 m/s")),
        question(must_include=("do not say",), kind="unanswerable"),
    ],
)
def test_no_golden_passage_without_the_whole_answer(asked):
    assert golden_passages(asked, FOUND) == ()


def test_a_missing_golden_passage_takes_the_place_of_the_last_other_one():
    shown = place_golden(FOUND, [FOUND[4]], k=3)
    assert [p.chunk_id for p in shown] == ["c1", "c2", "c5"]


def test_golden_passages_in_place_change_nothing():
    assert place_golden(FOUND, [FOUND[0]], k=3) == tuple(FOUND[:3])
    assert place_golden(FOUND[:2], [FOUND[1]], k=3) == tuple(FOUND[:2])


@given(st.sets(st.integers(min_value=0, max_value=5), max_size=3), st.integers(min_value=3, max_value=6))
def test_placing_keeps_the_golden_the_size_and_the_order(chosen, k):
    golden = [FOUND[index] for index in chosen]
    shown = place_golden(FOUND, golden, k=k)
    assert set(golden) <= set(shown)
    assert len(shown) == k
    assert list(shown) == sorted(shown, key=FOUND.index)


def test_withheld_contexts_hold_the_answer_nowhere():
    assert [p.chunk_id for p in without_answer(question(), FOUND)] == ["c1", "c2", "c4"]


@pytest.mark.parametrize(
    ("answer", "numbers", "expected"),
    [
        ("She stops at 17 m/s.", [2], "She stops at 17 m/s [2]."),
        ("Odo Marchbane", [3, 1, 3], "Odo Marchbane [1][3]."),
        ("Is it so?", [1], "Is it so [1]?"),
        ("She stops.", [], "She stops."),
    ],
)
def test_markers_go_before_the_full_stop(answer, numbers, expected):
    assert cite_answer(answer, numbers) == expected


def rows_of(questions, found, *, seed=1):
    rows = build_rows(questions, {q.id: found for q in questions}, count_tokens=count_words, seed=seed)
    return {(row.question_id, row.kind): row for row in rows}, rows


def test_a_golden_row_cites_the_passage_that_says_it():
    (row,) = [row for key, row in rows_of([question()], FOUND)[0].items() if key[1] == "golden"]
    system, user, assistant = row.messages
    assert CONTEXT_HEADER in system["content"]
    assert system["content"].startswith(recipe.PROMPT)
    assert user["content"] == "At what wind does she stop?"
    (number,) = read_markers(assistant["content"], passages=3).cited
    assert f"[{number}] Title 5\nIt stops at 17 m/s." in system["content"]
    assert row.context_tokens > 0


def test_a_closed_row_has_no_context_and_no_marker():
    row = rows_of([question()], FOUND)[0]["q1", "closed"]
    assert [message["content"] for message in row.messages] == [
        recipe.PROMPT,
        "At what wind does she stop?",
        "She stops at 17 m/s.",
    ]


def test_an_unanswerable_question_is_refused_with_and_without_context():
    asked = question(must_include=("do not say",), kind="unanswerable")
    by_kind, rows = rows_of([asked], FOUND)
    assert {row.kind for row in rows} == {"unanswerable", "closed"}
    assert all(is_refusal(row.messages[-1]["content"]) for row in rows)
    assert CONTEXT_HEADER in by_kind["q1", "unanswerable"].messages[0]["content"]


def test_without_its_golden_passages_a_question_is_refused():
    row = rows_of([question(sources=("unfound.md",))], FOUND)[0]["q1", "absent"]
    assert row.messages[-1]["content"] == recipe.REFUSAL
    assert "17 m/s" not in row.messages[0]["content"]


def test_a_golden_passage_over_the_token_budget_makes_an_absent_row():
    long = passage(9, document="gold.md", text="17 m/s " * recipe.RETRIEVAL.max_context_tokens)
    row = rows_of([question()], [passage(1), long])[0]["q1", "absent"]
    assert row.messages[-1]["content"] == recipe.REFUSAL


def test_half_of_the_rows_have_context_and_a_share_of_it_lacks_the_golden_passages():
    questions = [question(number) for number in range(100)]
    _, rows = rows_of(questions, FOUND)
    counts = Counter(row.kind for row in rows)
    assert counts == {"closed": 100, "golden": 85, "absent": 15}


def test_the_seed_decides_rows_and_order():
    questions = [question(number) for number in range(20)]
    assert rows_of(questions, FOUND, seed=3)[1] == rows_of(questions, FOUND, seed=3)[1]
    assert rows_of(questions, FOUND, seed=3)[1] != rows_of(questions, FOUND, seed=4)[1]


def test_rows_are_written_as_chat_json_lines(tmp_path):
    path = tmp_path / "new" / "train.jsonl"
    _, rows = rows_of([question()], FOUND)
    write_rows(rows, path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"messages"}] * 2
    assert {message["role"] for line in lines for message in line["messages"]} == {"system", "user", "assistant"}
