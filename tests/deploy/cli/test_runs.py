"""`graftwork runs list | show | compare`, as a user runs them, on runs that lie in a home."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from tests.deploy.cli.test_main import run, settings_file
from tests.train.runs.conftest import RESULT, record, reports, store
from train.runs.driver import this_driver
from train.runs.record import CURVE_FILE, PAGE_FILE, RECORD_FILE


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "home" / "runs"


@pytest.fixture
def config(tmp_path: Path) -> str:
    return settings_file(tmp_path)


def test_runs_are_listed_the_latest_first_and_damage_hides_none(tmp_path: Path, config: str, runs: Path) -> None:
    store(runs, record("agronomy-1"))
    driver = this_driver()
    killed = dataclasses.replace(driver, started_s=driver.started_s - 60)
    for name, changes in (("agronomy-2", {"driver": killed}), ("agronomy-3", {"driver": driver})):
        started = datetime(2026, 3, int(name[-1]), 8, 5, tzinfo=UTC)
        store(runs, record(name, state="running", result=None, started=started, **changes), reports(2.5, 1.5))
    (store(runs, record("torn")) / RECORD_FILE).write_text("{")
    done = run(tmp_path, "--config", config, "runs", "list")
    assert done.returncode == 0, done.stderr
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [[cell.strip() for cell in line if cell] for line in lines[:4]] == [
        ["run", "state", "adapter", "steps", "loss", "started (UTC)"],
        ["agronomy-3", "running", "agronomy", "2 of 4", "2.500 -> 1.500", "2026-03-03 08:05"],
        ["agronomy-2", "interrupted", "agronomy", "2 of 4", "2.500 -> 1.500", "2026-03-02 08:05"],
        [
            "agronomy-1",
            "finished",
            "agronomy@3",
            "3 of 4 (stopped early)",
            "2.500 -> 0.750",
            "2026-03-01 10:30",
        ],
    ]
    assert done.stdout.splitlines()[4].startswith(f"torn cannot be read: {runs / 'torn' / RECORD_FILE} is not the rec")
    assert len(lines) == 5
    found = json.loads(run(tmp_path, "--config", config, "runs", "list", "--json").stdout)
    assert [each["state"] for each in found["runs"]] == ["running", "interrupted", "finished"]
    assert found["runs"][2]["result"]["scores"] == RESULT.scores
    assert [each["name"] for each in found["unreadable"]] == ["torn"]


def test_a_home_without_runs_says_so(tmp_path: Path, config: str, runs: Path) -> None:
    done = run(tmp_path, "--config", config, "runs", "list")
    assert (done.returncode, done.stdout) == (0, f"No training runs in {runs}.\n")


def test_a_run_is_shown_with_its_settings_its_loss_and_its_page(tmp_path: Path, config: str, runs: Path) -> None:
    folder = store(runs, record("agronomy-1", datasets=("[red]rows.jsonl",)), reports(8.0, 4.0, 1.0))
    (folder / PAGE_FILE).touch()
    (folder / CURVE_FILE).touch()
    done = run(tmp_path, "--config", config, "runs", "show", "agronomy-1")
    assert done.returncode == 0, done.stderr
    for line in (
        "run          agronomy-1",
        "datasets     [red]rows.jsonl, 24 rows an epoch",
        "loss         2.500 -> 0.750",
        "█▄▁",
        "    rank            16",
        "    time_budget_s   null",
        str(folder / PAGE_FILE),
        str(folder / CURVE_FILE),
    ):
        assert line in done.stdout.splitlines()
    found = json.loads(run(tmp_path, "--config", config, "runs", "show", "agronomy-1", "--json").stdout)
    assert [each["loss"] for each in found["progress"]] == [8.0, 4.0, 1.0]
    assert found["drawings"] == [str(folder / PAGE_FILE), str(folder / CURVE_FILE)]


def test_runs_are_compared_by_what_differs(tmp_path: Path, config: str, runs: Path) -> None:
    store(runs, record("agronomy-1"))
    settings = {**record().settings, "rank": 8}
    store(runs, record("agronomy-2", settings=settings, state="failed", result=None), reports(2.5, 1.5))
    done = run(tmp_path, "--config", config, "runs", "compare", "agronomy-1", "agronomy-2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:8] == [
        "               agronomy-1  agronomy-2",
        "rank           16          8",
        "",
        "state          finished    failed",
        "adapter        agronomy@3  -",
        "steps          3           2",
        "planned_steps  4           4",
        "first_loss     2.5         2.5",
    ]
    assert "learning_rate" not in done.stdout
    same = run(tmp_path, "--config", config, "runs", "compare", "agronomy-1", "agronomy-1")
    assert same.returncode == InputError.exit_code
    assert "name two or more runs, each once" in same.stderr
    found = json.loads(
        run(tmp_path, "--config", config, "runs", "compare", "agronomy-1", "agronomy-2", "--json").stdout
    )
    assert found["differences"] == {"rank": {"agronomy-1": 16, "agronomy-2": 8}}


@pytest.mark.parametrize("verb", ["show", "compare"])
def test_a_run_that_is_not_there_is_named(tmp_path: Path, config: str, runs: Path, verb: str) -> None:
    done = run(tmp_path, "--config", config, "runs", verb, "agronomy-9")
    assert done.returncode == NotFoundError.exit_code
    assert done.stderr == (
        f"graftwork: There is no training run 'agronomy-9' in {runs}; `graftwork runs list` names them.\n"
    )


def test_a_damaged_run_is_one_sentence(tmp_path: Path, config: str, runs: Path) -> None:
    (store(runs, record("torn")) / RECORD_FILE).write_text("{")
    done = run(tmp_path, "--config", config, "runs", "show", "torn")
    assert done.returncode == InputError.exit_code
    assert done.stderr.count("\n") == 1
    assert f"{runs / 'torn' / RECORD_FILE} is not the record of a run" in done.stderr
