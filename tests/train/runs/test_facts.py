from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.train.runs.conftest import record, reports, store
from train.runs.driver import this_driver
from train.runs.facts import facts, shown_value
from train.runs.stored import read_run


def test_a_finished_run_is_told_with_its_scores(tmp_path: Path) -> None:
    run = read_run(store(tmp_path, record(resumed=datetime(2026, 3, 1, 11, tzinfo=UTC))))
    assert dict(facts(run)) == {
        "state": "finished",
        "adapter": "agronomy@3",
        "base": "tiny",
        "datasets": "rows.jsonl more.jsonl=0.5, 24 rows an epoch",
        "evaluation": "held_out.jsonl",
        "started": "2026-03-01 10:30:00 UTC",
        "resumed": "2026-03-01 11:00:00 UTC",
        "steps": "3 of 4 (stopped early)",
        "loss": "2.500 -> 0.750",
        "eval loss": "0.875",
        "exact_match": "0.5",
        "tokens": "4096 at 102 per second",
        "time": "62 s, 40 s of them in steps",
    }


def test_a_run_that_has_not_come_to_its_end_is_told_by_its_reports(tmp_path: Path) -> None:
    kept = record(state="failed", reason="No room.", result=None, eval_datasets=())
    found = dict(facts(read_run(store(tmp_path, kept, reports(2.5, 1.5)))))
    assert found["state"] == "failed: No room."
    assert (found["adapter"], found["steps"], found["loss"]) == ("agronomy", "2 of 4", "2.500 -> 1.500")
    assert found.keys().isdisjoint({"evaluation", "resumed", "eval loss", "tokens", "time"})


def test_a_run_of_another_machine_is_not_called_running(tmp_path: Path) -> None:
    kept = record(state="running", result=None, driver=dataclasses.replace(this_driver(), host="elsewhere"))
    found = dict(facts(read_run(store(tmp_path, kept, ()))))
    assert found["state"] == "unknown: last seen running on elsewhere"
    assert found["steps"] == "none yet"


@pytest.mark.parametrize(
    ("value", "text"), [("linear", "linear"), (None, "null"), (0.5, "0.5"), (["é"], '["é"]'), (True, "true")]
)
def test_words_are_shown_as_they_are_and_the_rest_as_json(value: JsonValue, text: str) -> None:
    assert shown_value(value) == text
