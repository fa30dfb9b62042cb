"""Reading and choosing questions."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from deploy.demo import recipe
from deploy.demo.questions import Question, choose_test_questions, document_key, read_questions
from indexer.errors import InputError, NotFoundError

LINE = {
    "id": "q1",
    "question": "When?",
    "answer": "Today.",
    "must_include": ["today"],
    "sources": ["a.md"],
    "kind": "single",
    "split": "test",
}


def questions(sizes):
    return [
        Question.model_validate({**LINE, "id": f"{kind}{number}", "kind": kind})
        for kind, size in sizes.items()
        for number in range(size)
    ]


def test_the_demos_own_questions_are_read():
    found = read_questions(recipe.QUESTIONS)
    assert {question.split for question in found} == {"train", "test"}
    assert len({question.id for question in found}) == len(found) >= 150


def test_a_bad_line_is_named(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(LINE) + "\n\n" + json.dumps({**LINE, "split": "dev"}) + "\n")
    with pytest.raises(InputError, match=r"line 3: split"):
        read_questions(path)


def test_missing_questions_are_said(tmp_path):
    with pytest.raises(NotFoundError, match="missing"):
        read_questions(tmp_path / "none.jsonl")


def test_document_ids_lose_the_indexed_folders_name():
    assert document_key("corpus/town/letters.jsonl#oil-cans") == "town/letters.jsonl#oil-cans"


def test_training_questions_are_not_asked():
    training = [Question.model_validate({**LINE, "id": "t", "split": "train"})]
    assert choose_test_questions([*questions({"single": 3}), *training], limit=10, seed=1) == choose_test_questions(
        questions({"single": 3}), limit=10, seed=1
    )


@pytest.mark.parametrize("limit", [5, 10, 20, 40])
def test_every_prefix_is_a_fair_sample_of_the_kinds(limit):
    sizes = {"single": 40, "exception": 12, "unanswerable": 12, "two_documents": 16}
    chosen = choose_test_questions(questions(sizes), limit=limit, seed=5)
    assert len(chosen) == limit
    counts = Counter(question.kind for question in chosen)
    for kind, size in sizes.items():
        assert abs(counts[kind] - limit * size / 80) <= 1


def test_the_seed_decides_which_are_chosen():
    pool = questions({"single": 40})
    assert choose_test_questions(pool, limit=10, seed=1) == choose_test_questions(pool, limit=10, seed=1)
    assert choose_test_questions(pool, limit=10, seed=1) != choose_test_questions(pool, limit=10, seed=2)
