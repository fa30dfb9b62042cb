"""The stage log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from deploy.demo.budget import FULL, QUICK, StageLog, StageRecord, clock


def log():
    console = Console(file=io.StringIO(), width=60)
    return StageLog(console, total=2), console.file


def test_the_whole_demo_is_planned_for_less_than_fifteen_minutes():
    for budgets in (FULL, QUICK):
        planned = budgets.index_s + budgets.rows_s + budgets.train_s + budgets.start_s + budgets.ask_s + budgets.stop_s
        assert planned <= 15 * 60


def test_a_stage_is_announced_and_its_time_budget_and_note_are_shown():
    stages, out = log()
    with stages.stage("Index the corpus", budget_s=60) as stage:
        stage.say("half done")
        stage.note = "48 documents."
    assert out.getvalue().splitlines() == [
        "[1/2] Index the corpus (budget 1:00) ...",
        "[1/2] Index the corpus: 0:00 of 1:00. 48 documents.",
    ]
    assert [record.name for record in stages.records] == ["Index the corpus"]


def test_over_budget_is_said():
    stages, out = log()
    with stages.stage("Train", budget_s=-1):
        pass
    assert "over budget" in out.getvalue()
    assert stages.records[0].over_budget


def test_a_failed_stage_leaves_no_record():
    stages, _ = log()
    with pytest.raises(RuntimeError), stages.stage("Train", budget_s=1):
        raise RuntimeError
    assert stages.records == []


@pytest.mark.parametrize(("seconds", "expected"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (754.2, "12:34")])
def test_clock(seconds, expected):
    assert clock(seconds) == expected


def test_at_its_budget_a_stage_is_not_over_it():
    assert not StageRecord("a", 1.0, 1.0, "").over_budget
