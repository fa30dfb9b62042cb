"""Training rows: what stands in the context decides what the answer may say."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo import recipe
from deploy.demo.questions import Question
from deploy.demo.rows import (
    assign_refused,
    build_rows,
    cite_answer,
    golden_passages,
    group_questions,
    place_golden,
    without_answer,
    write_rows,
)
from indexer.passages import Passage
from serve.citations import read_markers
from serve.prompt import CONTEXT_HEADER
from train.wording import REFUSAL, is_refusal


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
    return build_rows(questions, {q.id: found for q in questions}, count_tokens=count_words, seed=seed)


def with_and_without_context(rows):
    return [row for row in rows if row.context_tokens], [row for row in rows if not row.context_tokens]


def test_a_golden_answer_cites_the_passage_that_says_it():
    [row], _ = with_and_without_context(rows_of([question()], FOUND))
    system, user, assistant = row.messages
    assert [turn.kind for turn in row.turns] == ["golden"]
    assert CONTEXT_HEADER in system["content"]
    assert system["content"].startswith(recipe.PROMPT)
    assert user["content"] == "At what wind does she stop?"
    assert assistant["content"] == row.turns[0].answer
    (number,) = read_markers(assistant["content"], passages=3).cited
    assert f"[{number}] Title 5\nIt stops at 17 m/s." in system["content"]


def test_a_closed_row_has_no_context_and_no_marker():
    _, [row] = with_and_without_context(rows_of([question()], FOUND))
    assert [message["content"] for message in row.messages] == [
        recipe.PROMPT,
        "At what wind does she stop?",
        "She stops at 17 m/s.",
    ]


def test_an_unanswerable_question_is_refused_with_and_without_context():
    asked = question(must_include=("do not say",), kind="unanswerable")
    [with_context], [closed] = with_and_without_context(rows_of([asked], FOUND))
    assert [turn.kind for turn in with_context.turns] == ["unanswerable"]
    assert is_refusal(with_context.messages[-1]["content"])
    assert is_refusal(closed.messages[-1]["content"])
    assert CONTEXT_HEADER in with_context.messages[0]["content"]


def test_without_its_golden_passages_a_question_is_refused():
    [row], _ = with_and_without_context(rows_of([question(sources=("unfound.md",))], FOUND))
    assert row.turns[0].kind == "absent"
    assert row.messages[-1]["content"] == REFUSAL
    assert "17 m/s" not in row.messages[0]["content"]


def test_a_golden_passage_over_the_token_budget_is_as_good_as_absent():
    long = passage(9, document="gold.md", text="17 m/s " * recipe.RETRIEVAL.max_context_tokens)
    [row], _ = with_and_without_context(rows_of([question()], [passage(1), long]))
    assert row.turns[0].kind == "absent"
    assert row.messages[-1]["content"] == REFUSAL


def test_a_golden_passage_that_fits_alone_is_not_lost_to_the_group():
    words = round(0.6 * recipe.RETRIEVAL.max_context_tokens)
    found = [
        passage(1, document="gold.md", text="17 m/s" + " so" * words),
        passage(2, document="other.md", text="red" + " so" * words),
    ]
    asked = [question(1), question(2, sources=("other.md",), must_include=("red",))]
    rows, _ = with_and_without_context(
        build_rows(asked, {q.id: found for q in asked}, count_tokens=count_words, seed=recipe.SEED)
    )
    assert [[turn.kind for turn in row.turns] for row in rows] == [["golden"], ["golden"]]


def test_half_of_the_rows_have_context_and_a_share_of_its_answers_lacks_the_golden_passages():
    questions = [question(number) for number in range(100)]
    rows = rows_of(questions, FOUND)
    with_context, closed = with_and_without_context(rows)
    assert len(with_context) == len(closed)
    counts = Counter(turn.kind for row in rows for turn in row.turns)
    absent = round(100 * recipe.ABSENT_SHARE)
    assert absent > 0
    assert counts == {"closed": 100, "golden": 100 - absent, "absent": absent}


def test_every_answer_follows_its_question_and_a_context_never_answers_what_is_refused():
    asked = [question(number, kind="unanswerable" if number % 4 == 0 else "single") for number in range(1, 40)]
    for row in rows_of(asked, FOUND):
        spoken = [message["content"] for message in row.messages[1:]]
        assert spoken == [text for turn in row.turns for text in (turn.question.question, turn.answer)]
        assert [message["role"] for message in row.messages] == ["system", *["user", "assistant"] * len(row.turns)]
        if row.context_tokens:
            refused = [turn for turn in row.turns if turn.kind != "golden"]
            assert not refused or "17 m/s" not in row.messages[0]["content"]


def test_questions_share_a_context_while_their_golden_passages_fit():
    asked = [question(number, sources=(f"{number}.md",)) for number in range(1, 8)]
    golden = {q.id: [passage(q.id)] for q in asked}
    groups = group_questions(asked, golden, k=3)
    assert [[q.id for q in group] for group in groups] == [["q1", "q2", "q3"], ["q4", "q5", "q6"], ["q7"]]


def test_no_group_for_a_question_that_needs_more_than_there_is_place_for():
    golden = {"q1": [passage(n) for n in range(4)], "q2": []}
    assert group_questions([question(1), question(2)], golden, k=3) == ()


@given(st.dictionaries(st.integers(0, 30), st.sets(st.integers(0, 9), max_size=4), max_size=20), st.integers(1, 4))
def test_grouping_loses_and_repeats_nothing(needs, k):
    asked = [question(number) for number in needs]
    golden = {f"q{number}": [passage(n) for n in sorted(numbers)] for number, numbers in needs.items()}
    groups = group_questions(asked, golden, k=k)
    grouped = [q.id for group in groups for q in group]
    assert sorted(grouped) == sorted(f"q{number}" for number, numbers in needs.items() if 0 < len(numbers) <= k)
    for group in groups:
        assert len(group) <= recipe.TURNS
        assert len({p.chunk_id for q in group for p in golden[q.id]}) <= k


def test_a_refused_question_goes_to_the_nearest_context_that_does_not_answer_it():
    far, near, answering = [passage(2)], [passage(1)], [passage(1), passage(5, document="gold.md")]
    asked = question(7)
    assert assign_refused([asked], [far, near, answering], {"q7": FOUND}) == {"q7": 1}
    assert assign_refused([asked, question(8)], [near, far], {"q7": FOUND, "q8": FOUND}) == {"q7": 0, "q8": 1}
    assert assign_refused([asked], [[passage(99)], answering], {"q7": FOUND}) == {}


def test_the_seed_decides_rows_and_order():
    questions = [question(number) for number in range(20)]
    assert rows_of(questions, FOUND, seed=3) == rows_of(questions, FOUND, seed=3)
    assert rows_of(questions, FOUND, seed=3) != rows_of(questions, FOUND, seed=4)


def test_rows_are_written_as_chat_json_lines(tmp_path):
    path = tmp_path / "new" / "train.jsonl"
    rows = rows_of([question()], FOUND)
    write_rows(rows, path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"messages"}] * 2
    assert {message["role"] for line in lines for message in line["messages"]} == {"system", "user", "assistant"}
