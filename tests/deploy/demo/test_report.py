"""What stands beside the table says what happened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.demo.figures import Comparison, Figures
from deploy.demo.report import TrainingFacts, statement
from indexer.evaluation.bootstrap import Estimate


def training(*, stopped_early):
    return TrainingFacts(
        adapter="demo@1",
        rows=4,
        answers={"golden": 3, "closed": 3},
        steps=50,
        planned_steps=90,
        epochs=1.6,
        seconds=200.0,
        tokens_per_s=400.0,
        first_loss=3.21,
        final_loss=0.94,
        stopped_early=stopped_early,
    )


def figures(*differences):
    comparisons = tuple(
        Comparison("must_include", "demo-retrieval", "demo-both", Estimate(value, low, high, 30))
        for value, low, high in differences
    )
    return Figures(asked=40, answerable=30, unanswerable=10, dropped=(), arms=(), comparisons=comparisons)


def test_the_limits_of_the_adapter_are_always_said():
    text = " ".join(statement(training(stopped_early=False), figures(), budget_s=300))
    assert "other documents than those asked about" in text
    assert "not the facts" in text
    assert "n = 40 questions (30 answerable, 10 not)" in text


@pytest.mark.parametrize(
    ("stopped", "sentence"),
    [
        (
            True,
            "Training stopped early, over its budget of 300 s: 50 of 90 steps, 1.6 epochs; loss 3.21 at first, 0.94",
        ),
        (False, "Training ended within its budget of 300 s: 50 of 90 steps"),
    ],
)
def test_whether_training_stopped_early_is_said(stopped, sentence):
    assert sentence in " ".join(statement(training(stopped_early=stopped), figures(), budget_s=300))


def test_a_loss_of_the_adapter_is_said_like_a_gain():
    text = " ".join(statement(training(stopped_early=False), figures((-0.2, -0.35, -0.05)), budget_s=300))
    assert "demo-both against demo-retrieval -0.20 [-0.35, -0.05]" in text


def test_a_difference_that_chance_explains_is_none():
    text = " ".join(statement(training(stopped_early=False), figures((0.1, -0.05, 0.25)), budget_s=300))
    assert "Required words: no two specialists differ" in text


def test_the_statement_counts_answers_that_cite_and_that_refuse() -> None:
    facts = replace(training(stopped_early=False), rows=76, answers={"golden": 86, "absent": 23, "closed": 109})
    assert "Half of its 76 training rows show a context: 86 of 109 answers in them cite it" in " ".join(
        statement(facts, figures(), budget_s=300)
    )
