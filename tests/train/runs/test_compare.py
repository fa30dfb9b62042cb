from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from indexer.errors import InputError
from tests.train.runs.conftest import RESULT, record, reports
from train.runs.compare import Comparison, compare
from train.runs.record import RunRecord
from train.runs.stored import Run

SETTINGS = record().settings


def run(name: str, **changes: object) -> Run:
    kept: RunRecord = record(name, **changes)
    return Run(Path("/runs") / name, kept, tuple(reports(2.0, 1.0)), "finished")


def differences(found: Comparison) -> dict[str, tuple[object, ...]]:
    return {row.name: row.values for row in found.differences}


def results(found: Comparison) -> dict[str, tuple[object, ...]]:
    return {row.name: row.values for row in found.results}


def test_only_what_differs_is_told() -> None:
    other = run("b", settings={**SETTINGS, "rank": 8}, datasets=("other.jsonl",), dataset_sha256="e" * 64)
    assert differences(compare([run("a"), other])) == {
        "datasets": (["rows.jsonl", "more.jsonl=0.5"], ["other.jsonl"]),
        "dataset_sha256": ("d" * 64, "e" * 64),
        "rank": (16, 8),
    }
    assert differences(compare([run("a"), run("b")])) == {}


def test_one_of_three_that_differs_is_told() -> None:
    found = compare([run("a"), run("b"), run("c", settings={**SETTINGS, "rank": 8})])
    assert differences(found) == {"rank": (16, 16, 8)}


def test_a_setting_that_only_one_knows_differs() -> None:
    newer = run("b", settings={**SETTINGS, "packing": True, "clock": None})
    assert differences(compare([run("a"), newer])) == {"packing": (None, True)}


def test_results_are_side_by_side_with_every_score() -> None:
    better = dataclasses.replace(RESULT, adapter="agronomy@4", final_loss=0.5, scores={"f1": 0.75})
    found = compare([run("a"), run("b", result=better), run("c", result=None)])
    told = results(found)
    assert told["adapter"] == ("agronomy@3", "agronomy@4", None)
    assert told["last_loss"] == (0.75, 0.5, 1.0)
    assert told["steps"] == (3, 3, 2)
    assert told["exact_match"] == (0.5, None, None)
    assert told["f1"] == (None, 0.75, None)
    assert [row.name for row in found.results].count("eval_loss") == 1
    assert found.to_json()["results"]["last_loss"] == {"a": 0.75, "b": 0.5, "c": 1.0}  # type: ignore[index, call-overload]


@pytest.mark.parametrize("names", [(), ("a",), ("a", "a"), ("a", "b", "a")])
def test_fewer_than_two_runs_cannot_be_compared(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="name two or more runs, each once"):
        compare([run(name) for name in names])
