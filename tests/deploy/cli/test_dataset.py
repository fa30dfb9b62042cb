"""`graftwork dataset check | stats | preview`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.errors import InputError
from tests.deploy.cli.test_main import run, settings_file
from tests.models import build_tiny_llama

ANSWER = "The hawser of the north berth is 212 metres long and is tarred every third autumn."


def row(question: str, answer: str, **more: object) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns, **more})


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [
        row("How long is the hawser of the north berth?", ANSWER, documents=["ropes.md"]),
        row("How long is the hawser of the  NORTH berth?", ANSWER),
        row("And how long is the hawser of the north berth?", ANSWER),
        json.dumps({"prompt": "Which oil burns in the red lamp?", "completion": "Rape oil."}),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


def test_check_tells_duplicates_and_what_evaluation_shares(tmp_path: Path, rows: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(
        row("Which oil burns in the red lamp?", "Oil.") + "\n" + row("What?", "No.", documents="ropes.md")
    )
    done = run(tmp_path, "dataset", "check", str(rows), "--eval", str(held_out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{rows}  4 rows, 0 bad",
        f"{held_out}  2 rows, 0 bad",
        "bad: 0",
        "equal: 1",
        f"    {rows}:1, {rows}:2",
        "nearly equal: 1",
        f"    {rows}:1, {rows}:3",
        "in training and evaluation: 2",
        f"    {held_out}:1 has the question of {rows}:4",
        f"    {held_out}:2 has the document ropes.md of {rows}:1",
    ]
    strict = run(tmp_path, "dataset", "check", str(rows), "--eval", str(held_out), "--strict", "--json")
    assert strict.returncode == InputError.exit_code
    assert "1 groups of equal rows" in strict.stderr
    assert len(json.loads(strict.stdout)["leaks"]) == 2


def test_check_names_every_bad_line(tmp_path: Path, rows: Path) -> None:
    with rows.open("a") as file:
        file.write('{"messages": []}\n{oops\n')
    done = run(tmp_path, "dataset", "check", str(rows), "--no-near")
    assert done.returncode == InputError.exit_code
    assert f"    {rows}:5: no messages" in done.stdout
    assert f"    {rows}:6: not JSON" in done.stdout
    assert "2 of 6 rows cannot be trained on" in done.stderr


def test_stats_count_an_epoch_as_training_sees_it(tmp_path: Path, rows: Path, base: Path) -> None:
    config = settings_file(tmp_path, train={"base_model": str(base), "max_length": 64})
    found = [
        json.loads(run(tmp_path, "--config", config, "dataset", "stats", f"{rows}{weight}", "--json").stdout)
        for weight in ("", "=2", "=0.5")
    ]
    assert [each["rows"] for each in found] == [4, 8, 2]
    assert found[1]["tokens"] == 2 * found[0]["tokens"]
    assert 0 < found[0]["supervised_tokens"] < found[0]["tokens"]
    assert found[0]["length_quantiles"]["0.99"] == found[0]["longest_row"]
    shown = run(tmp_path, "--config", config, "dataset", "stats", str(rows))
    assert f"tokens      {found[0]['tokens']}, of which {found[0]['supervised_tokens']} are learned" in shown.stdout


def test_preview_shows_what_is_learned(tmp_path: Path, rows: Path, base: Path) -> None:
    config = settings_file(tmp_path, train={"base_model": str(base), "max_length": 1024})
    done = run(tmp_path, "--config", config, "dataset", "preview", str(rows), "--rows", "9", FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert "\x1b[32mRape oil.<|im_end|>\x1b[0m" in done.stdout
    assert "\x1b[2m" in done.stdout
    plain = run(tmp_path, "--config", config, "dataset", "preview", str(rows), "--rows", "1")
    assert plain.stdout.startswith(f"{rows}:1  ")
    assert "Which oil" not in plain.stdout


def test_tools_that_the_template_leaves_out_are_refused(tmp_path: Path, rows: Path, base: Path) -> None:
    tool = {"type": "function", "function": {"name": "depth", "parameters": {"type": "object", "properties": {}}}}
    rows.write_text(row("How deep?", "Nine.", tools=[tool]) + "\n")
    config = settings_file(tmp_path, train={"base_model": str(base)})
    done = run(tmp_path, "--config", config, "dataset", "stats", str(rows))
    assert done.returncode == InputError.exit_code
    assert f"{rows}:1: the chat template leaves out the tools of the row" in done.stderr
