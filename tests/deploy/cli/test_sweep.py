"""`graftwork train --sweep`, as far as it comes without training; tests/train/sweep/test_run.py trains."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from deploy.cli.sweep import print_sweep
from indexer.errors import InputError, NotFoundError
from tests.deploy.cli.test_main import run, settings_file
from tests.train.sweep.test_results import BETTER, FAILED, GOOD, sweep


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    turns = [{"role": "user", "content": "How long?"}, {"role": "assistant", "content": "212 metres."}]
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps({'messages': turns})}\n" * 8)
    return path


def test_help_names_the_options_of_a_sweep(tmp_path: Path) -> None:
    done = run(tmp_path, "train", "--help")
    assert done.returncode == 0
    assert "--sweep FILE" in done.stdout
    assert "--publish / --no-publish" in done.stdout


@pytest.mark.parametrize(
    ("content", "options", "code", "says"),
    [
        (None, ["--sweep", "FILE"], NotFoundError.exit_code, "There is no sweep file"),
        ("fields: {rank: 8}", ["--sweep", "FILE"], InputError.exit_code, "fields.rank is 8; give a list of choices"),
        (
            "{fields: {rank: [8]}, metric: f1}",
            ["--sweep", "FILE"],
            InputError.exit_code,
            "rank=8 cannot start: the metric 'f1' is not measured; it may be final_loss",
        ),
        ("fields: {rank: [8]}", ["--sweep", "FILE", "--plan"], InputError.exit_code, "--plan and --sweep do not go"),
        (None, ["--no-publish"], InputError.exit_code, "--no-publish is for a sweep"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence_and_starts_nothing(
    tmp_path: Path, tiny_base: Path, rows: Path, content: str | None, options: list[str], code: int, says: str
) -> None:
    file = tmp_path / "sweep.yaml"
    if content is not None:
        file.write_text(content)
    config = settings_file(tmp_path, train={"base_model": str(tiny_base), "general_dataset": []})
    given = [str(file) if option == "FILE" else option for option in options]
    done = run(tmp_path, "--config", config, "train", str(rows), "--name", "agro", *given)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("graftwork: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not (tmp_path / "home" / "runs").exists()


def test_the_table_is_printed_with_what_failed_and_what_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(dataclasses.replace(sweep(GOOD, BETTER, FAILED), published="agro@3"))
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split() == ["best", "rank", "eval_loss", "loss", "steps", "seconds", "run"]
    assert lines[1].split()[0] == "*"
    assert lines[4:] == [
        "published  agro@3, of the run s-002",
        "sweep      s in /runs/s",
    ]
    assert printed.err == "failed: s-004: the loss is nan\n"
