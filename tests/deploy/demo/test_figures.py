"""Figures from answers whose scores are known."""

from __future__ import annotations

import pytest

from deploy.demo import recipe
from deploy.demo.ask import Answer, Source
from deploy.demo.figures import all_figures
from deploy.demo.questions import Question


def question(number, *, kind="single"):
    return Question(
        id=f"q{number}",
        question="At what wind?",
        answer="At 17 m/s.",
        must_include=("17 m/s",),
        sources=("gold.md",),
        kind=kind,
        split="test",
    )


def answer(number, arm, text, *, given=(), cited=(), error=None):
    sources = tuple(
        Source(n=n, document=f"corpus/{name}", title="", heading="", uri="", cited=name in cited)
        for n, name in enumerate(given, start=1)
    )
    return Answer(
        question_id=f"q{number}",
        specialist=arm.name,
        text=text,
        ttft_s=0.5,
        seconds=1.5,
        completion_tokens=11,
        counted_by="usage",
        sources=sources,
        adapter=None,
        invalid_markers=1 if arm is recipe.WITH_BOTH else 0,
        error=error,
    )


def answers_to(number, texts, **both):
    made = [answer(number, arm, text) for arm, text in zip(recipe.ARMS[:3], texts, strict=False)]
    return [*made, answer(number, recipe.WITH_BOTH, texts[3], **both)]


@pytest.fixture
def figures():
    questions = [question(1), question(2), question(3, kind="unanswerable"), question(4)]
    answers = [
        *answers_to(
            1,
            ["No idea.", "17 m/s", "18 m/s", "At 17 m/s [1]."],
            given=("gold.md", "other.md"),
            cited=("gold.md", "other.md"),
        ),
        *answers_to(2, ["No.", "17 m/s", "17 m/s", "The documents do not say."], given=("other.md",)),
        *answers_to(3, ["42", "The passages do not say.", "42", "The documents do not say."]),
        answer(4, recipe.BASE, "", error="HTTP 500"),
        *(answer(4, arm, "17 m/s") for arm in recipe.ARMS[1:]),
    ]
    return all_figures(questions, answers)


def arm(figures, wanted):
    return next(row for row in figures.arms if row.specialist == wanted.name)


def test_questions_with_an_error_are_left_out_and_named(figures):
    assert (figures.asked, figures.answerable, figures.unanswerable) == (3, 2, 1)
    assert figures.dropped == ("q4",)


def test_unasked_questions_are_not_dropped_ones():
    figures = all_figures([question(1), question(2)], answers_to(1, ["a", "b", "c", "d"]))
    assert (figures.asked, figures.dropped) == (1, ())


@pytest.mark.parametrize(
    ("wanted", "share"),
    [(recipe.BASE, 0.0), (recipe.WITH_RETRIEVAL, 1.0), (recipe.WITH_ADAPTER, 0.5), (recipe.WITH_BOTH, 0.5)],
)
def test_required_words(figures, wanted, share):
    assert arm(figures, wanted).must_include.value == share
    assert arm(figures, wanted).must_include.n == 2


def test_refusals_right_and_wrong(figures):
    both = arm(figures, recipe.WITH_BOTH)
    assert (both.refused_rightly.value, both.refused_rightly.n) == (1.0, 1)
    assert both.refused_wrongly.value == 0.5
    assert arm(figures, recipe.BASE).refused_rightly.value == 0.0


def test_citations_count_where_something_was_cited_and_recall_over_all(figures):
    both = arm(figures, recipe.WITH_BOTH)
    assert (both.citation_precision.value, both.citation_precision.n) == (0.5, 1)
    assert (both.citation_recall.value, both.citation_recall.n) == (0.5, 2)
    assert both.found.value == 0.5
    assert both.invalid_markers == 3


def test_arms_without_retrieval_have_no_citation_figures(figures):
    base = arm(figures, recipe.BASE)
    assert (base.citation_precision, base.citation_recall, base.found) == (None, None, None)


def test_speeds_are_medians(figures):
    both = arm(figures, recipe.WITH_BOTH)
    assert (both.ttft_s.value, both.tokens_per_s.value, both.completion_tokens.value) == (0.5, 10.0, 11.0)


def test_differences_are_paired_by_question(figures):
    found = {(c.metric, c.first, c.second): c.difference for c in figures.comparisons}
    gained = found["must_include", "demo-base", "demo-retrieval"]
    assert (gained.value, gained.n) == (1.0, 2)
    lost = found["must_include", "demo-retrieval", "demo-both"]
    assert (lost.value, lost.low, lost.high) == (-0.5, -1.0, 0.0)
    assert len(found) == 8


def test_nothing_asked_gives_no_figures():
    figures = all_figures([question(1)], [])
    assert figures.asked == 0
    assert figures.comparisons == ()
    assert all(row.must_include is None for row in figures.arms)
