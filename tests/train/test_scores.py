"""What follows from scores, and which a run has."""

from __future__ import annotations

import pytest

from train.scores import lower_is_better, measured_names, with_differences


def test_gains_and_forgetting_are_against_the_base() -> None:
    found = with_differences(
        {
            "eval_loss": 1.0,
            "base_eval_loss": 2.5,
            "f1": 0.75,
            "base_f1": 0.25,
            "general_loss": 1.25,
            "base_general_loss": 1.0,
        }
    )
    assert (found["eval_gain"], found["f1_gain"], found["forgetting"]) == (1.5, 0.5, 0.25)
    assert with_differences({}) == {}


@pytest.mark.parametrize(
    ("evaluation", "answers", "general", "expected"),
    [
        (False, True, False, set()),
        (False, True, True, {"general_loss", "base_general_loss", "forgetting"}),
        (True, False, False, {"eval_loss", "base_eval_loss", "eval_gain"}),
        (True, True, False, {"eval_loss", "base_eval_loss", "eval_gain", "f1", "base_f1", "f1_gain"}),
    ],
)
def test_what_a_run_measures(evaluation: bool, answers: bool, general: bool, expected: set[str]) -> None:
    assert measured_names(evaluation=evaluation, answers=answers, general=general) == expected


def test_less_is_better_of_losses_and_forgetting_only() -> None:
    names = measured_names(evaluation=True, answers=True, general=True)
    assert {name for name in names if lower_is_better(name)} == {
        "base_eval_loss",
        "base_general_loss",
        "eval_loss",
        "general_loss",
        "forgetting",
    }
