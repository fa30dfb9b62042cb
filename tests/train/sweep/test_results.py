from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from indexer.errors import GraftworkError, PartialError
from tests.train.runs.conftest import RESULT
from train.gate import GateError
from train.runs.record import RunResult
from train.settings import TrainSettings
from train.sweep.results import SweepResult, TrialResult, ranked, table, trial_result
from train.sweep.trials import Trial

SETTINGS = TrainSettings(storage_path=Path("/runs"))


def came_to(**changes: object) -> RunResult:
    return dataclasses.replace(RESULT, adapter=None, stopped_early=False, **changes)  # type: ignore[arg-type]


def trial(
    number: int, result: RunResult | None, *, metric: str = "eval_loss", reason: str | None = None, rank: int = 4
) -> TrialResult:
    made = Trial(f"s-{number:03}", {"rank": rank, "learning_rate": 0.00052345678}, SETTINGS)
    return trial_result(made, result=result, reason=reason, metric=metric)


def sweep(*trials: TrialResult, metric: str = "eval_loss") -> SweepResult:
    return SweepResult(
        name="s",
        adapter="agro",
        folder="/runs/s",
        metric=metric,
        trials=ranked(trials, metric=metric),
        trained=len(trials),
        seconds=12.34,
    )


GOOD = trial(1, came_to(scores={"eval_loss": 2.0, "f1": 0.25}))
BETTER = trial(2, came_to(scores={"eval_loss": 1.0, "f1": 0.5}), rank=16)
BLANK = trial(3, came_to(scores={}))
FAILED = trial(4, None, reason="the loss is nan")


def test_the_best_has_the_lowest_loss_and_those_without_one_come_last() -> None:
    found = sweep(FAILED, BLANK, GOOD, BETTER)
    assert [each.run for each in found.trials] == ["s-002", "s-001", "s-003", "s-004"]
    assert found.best == BETTER


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        ("f1", "s-002"),
        ("f1_gain", "s-002"),
        ("forgetting", "s-001"),
        ("general_loss", "s-001"),
        ("final_loss", "s-001"),
    ],
)
def test_more_of_a_gain_and_less_of_a_loss_is_better(metric: str, best: str) -> None:
    low, high = (came_to(final_loss=value, scores={metric: value}) for value in (0.25, 0.5))
    found = sweep(trial(2, high, metric=metric), trial(1, low, metric=metric), metric=metric)
    assert found.best is not None
    assert found.best.run == best


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_the_best(value: float) -> None:
    astray = trial(1, came_to(scores={"eval_loss": value}))
    assert astray.value is None
    assert sweep(astray, GOOD).best == GOOD
    assert sweep(astray).best is None
    assert str(sweep(astray, FAILED).error) == (
        "No trial of the sweep s can be chosen: 1 of 2 failed, and eval_loss is a number in none of the others."
    )


def test_equal_trials_stay_in_their_order() -> None:
    twin = dataclasses.replace(GOOD, run="s-009")
    assert sweep(twin, GOOD).best == twin
    assert sweep(GOOD, twin).best == GOOD


def test_what_went_wrong_is_told_after_the_results() -> None:
    assert sweep(GOOD, BETTER).error is None
    partial = sweep(GOOD, FAILED).error
    assert isinstance(partial, PartialError)
    assert "1 of 2 trials of the sweep s failed and are left out" in str(partial)
    assert type(sweep(FAILED).error) is GraftworkError
    withheld = dataclasses.replace(sweep(GOOD, FAILED), withheld="The gate.").error
    assert isinstance(withheld, GateError)
    assert str(withheld) == "The gate."


def test_a_trial_that_left_no_word_says_so() -> None:
    assert trial(1, None).reason == "it ended without a word"
    assert trial(1, RESULT, reason="Tune's").reason is None


def test_the_table_has_a_row_for_each_trial_and_a_star_for_the_best() -> None:
    early = trial(5, came_to(scores={"eval_loss": 12.34567}, first_loss=None))
    early = dataclasses.replace(early, result=dataclasses.replace(early.result or RESULT, stopped_early=True))
    assert table(sweep(FAILED, BLANK, GOOD, BETTER, early)) == [
        "best  rank  eval_loss  loss              steps           seconds  run",
        "*     16    1.0000     2.5000 -> 0.7500  3 of 4          62       s-002",
        "      4     2.0000     2.5000 -> 0.7500  3 of 4          62       s-001",
        "      4     12.346     - -> 0.7500       3 of 4 (early)  62       s-005",
        "      4     -          2.5000 -> 0.7500  3 of 4          62       s-003",
        "      4     -          failed            -               -        s-004",
    ]


def test_the_table_of_one_trial_has_all_of_its_fields_and_the_loss_but_once() -> None:
    assert table(sweep(trial(1, came_to(), metric="final_loss"), metric="final_loss")) == [
        "best  rank  learning_rate  loss              steps   seconds  run",
        "*     4     0.000523457    2.5000 -> 0.7500  3 of 4  62       s-001",
    ]


def test_the_json_names_the_best_and_every_trial() -> None:
    found = json.loads(json.dumps(dataclasses.replace(sweep(GOOD, FAILED), published="agro@3").to_json()))
    assert (found["sweep"], found["adapter"], found["best"], found["seconds"]) == ("s", "agro@3", "s-001", 12.3)
    assert [each["state"] for each in found["trials"]] == ["finished", "failed"]
    assert found["trials"][0]["result"]["scores"] == {"eval_loss": 2.0, "f1": 0.25}
    assert found["trials"][1]["reason"] == "the loss is nan"
